//! The endpoints of rooms, over HTTP, against fakes of the room server's services.
//!
//! The fakes hold rooms as the queries tell them and answer inputs as a test says; what was written to the log is what
//! the tests look at.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod create;
mod fakes;
mod limits;
mod membership;
mod reading;
mod relations;
mod sending;
mod summaries;
mod upgrade;
