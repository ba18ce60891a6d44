//! Push rules: the predefined ones, how users change theirs ([`Rules`]), and what they make of an event ([`Facts`]).
//!
//! It builds on ruma's rules and conditions. What the conditions of predefined rules say of an event is worked out once
//! for the event, not once for each member: those rules are the same for everybody, but for who is mentioned or invited.
//!
//! It is pure: it knows no clock, no logs and no storage.

mod edit;
mod facts;
mod power;
mod rules;

#[cfg(test)]
mod tests;

pub use edit::{EditError, Place};
pub use facts::{Facts, Outcome, Power, Reader};
pub use power::power;
pub use rules::Rules;
