//! Writing to the input logs: append a record, then await the verdict of the room server.
//!
//! It knows where verdicts come from and what to do when an instance is not the one that can tell. It does not know
//! what the records ask for, but for how they are named ([`derived_id()`], [`MediaKey`]) and cut to fit
//! ([`split_to_device`]).
//!
//! What callers may rely on: a [`Accepted`] was committed; a [`SubmitError::Rejected`] changed nothing. After any other
//! error the input may still be applied. Records carry an ID made here, and repeating a record keeps its ID, so that
//! one call never applies anything twice.

mod derived_id;
mod error;
mod media_key;
mod owners;
mod to_device;
mod writer;

pub use derived_id::derived_id;
pub use error::SubmitError;
pub use media_key::MediaKey;
pub use plexus_proto::input::v1::{Accepted, verdict::Outcome};
pub use to_device::{ALL_DEVICES, split_to_device};
pub use writer::{Connect, InputWriter, Lane, VERDICT_DEADLINE, Written};
