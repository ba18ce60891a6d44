//! Patterns that users and rooms write and that the server applies to text of other users: globs of push rules, filters
//! and server ACLs ([`Glob`]), and dot-separated property paths ([`split_path`]).
//!
//! Neither the pattern nor the text can be trusted, so the work is linear in the text, bounded, and known before
//! ([`Glob::steps`]). It knows nothing of Matrix beyond that.

mod glob;
mod globs;
mod path;

pub use glob::Glob;
pub use globs::Globs;
pub use path::split_path;
