//! Events of rooms (PDUs): parse and validate, canonical JSON, hashes, redaction, signatures, authorization.
//!
//! Everything is pure, but for [`key_file`], which reads and makes the file of the signing key. It knows no database,
//! no network and no clock. Rules of room versions come from ruma; [`auth`] is the one seam to its checks. The way of an
//! event of another server is [`receive::parse`], then signatures, then [`auth::check_independent`] and
//! [`auth::check_dependent`]; [`resolve::resolve`] finds the state where its ancestors disagree.

pub mod acl;
pub mod auth;
pub mod build;
pub mod canonical;
pub mod create;
pub mod hash;
pub mod key_file;
pub mod keys;
pub mod mxc;
pub mod pdu;
pub mod power;
pub mod receive;
pub mod redact;
pub mod resolve;
pub mod signing;
pub mod verify;
pub mod version;

pub use build::{BuildError, Built, Draft};
pub use canonical::{CanonicalError, Object, Value};
pub use pdu::{Pdu, PduError};
pub use power::Power;
pub use signing::SigningKey;
pub use version::{RoomRules, UnsupportedVersion};

/// Most bytes an event may have as canonical JSON with its signatures.
pub const MAX_EVENT_BYTES: usize = 65_536;
/// Most bytes of a type, a state key, or an ID.
pub const MAX_FIELD_BYTES: usize = 255;
/// Most previous events.
pub const MAX_PREV_EVENTS: usize = 20;
/// Most auth events.
pub const MAX_AUTH_EVENTS: usize = 10;
/// Greatest integer of canonical JSON, and so the greatest depth.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;
