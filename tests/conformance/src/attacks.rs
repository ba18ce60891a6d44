//! Attacks: what nobody who means well would send, to every endpoint of the specification's list, and whether the server
//! stands it.
//!
//! Every request follows from a seed and its number, so that what went wrong can be done again. A server passes if it
//! answers each, with no error of its own; if whoever shares a room with the attacker reads everything that they may;
//! and if others are served while connections are held open that say nothing.

mod bodies;
mod dice;
mod holding;
mod mutation;
mod request;
mod run;
mod scene;
mod values;

pub(crate) use run::{Findings, Plan, run};
