//! Push rules: the predefined ones, how users change theirs ([`Rules`]), and what they make of an event ([`Facts`]).
//!
//! Rules are ruma's; what applies them is not, because users write rules for what other users write: rules are bounded
//! ([`bounds`]) and compiled once, and applying them takes steps from a [`Budget`]. What the conditions of predefined
//! rules say of an event is worked out once for the event, not once for each member: those rules are the same for
//! everybody, but for who is mentioned or invited.
//!
//! It is pure: it knows no clock, no logs and no storage.

pub mod bounds;
mod budget;
mod compiled;
mod edit;
mod facts;
mod power;
mod rules;

#[cfg(test)]
mod tests;

pub use budget::{Budget, Spent};
pub use edit::{EditError, Place};
pub use facts::{Facts, Outcome, Power, Reader};
pub use power::power;
pub use rules::Rules;
