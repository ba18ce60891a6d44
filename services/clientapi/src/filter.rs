//! Filters: what clients want to see in sync, stored under an ID.

mod check;
pub(crate) mod create_filter;
pub(crate) mod get_filter;
