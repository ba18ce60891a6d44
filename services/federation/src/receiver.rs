//! Answers other servers: one file for each endpoint, after ruma's module paths.

pub(crate) mod authenticate;
pub(crate) mod graph;
pub(crate) mod keys;
pub(crate) mod media;
pub(crate) mod membership;
pub(crate) mod query;
pub(crate) mod quota;
pub(crate) mod transaction;
pub(crate) mod user_keys;
pub(crate) mod version;
pub(crate) mod well_known;

pub(crate) use authenticate::Signed;
pub(crate) use quota::{Graph, Keys, Live, Media, Membership, Query, Quotas};
pub(crate) use transaction::Transactions;
