//! Attacks: what nobody who means well would send, to every endpoint of the specification's list, and whether the server
//! stands it.
//!
//! Every request follows from a seed and its number, so that what went wrong can be done again. A server passes if it
//! answers each, with no error of its own; if whoever shares a room with the attacker reads everything that they may;
//! and if others are served while connections are held open that say nothing.

mod account;
mod bodies;
mod connections;
mod dice;
mod figures;
mod holding;
pub(crate) mod honest;
mod mutation;
mod neighbours;
pub(crate) mod pressure;
mod request;
mod run;
mod scene;
pub(crate) mod sink;
mod values;

pub(crate) use connections::Counts;
pub(crate) use pressure::Plan as Pressure;
pub(crate) use run::{Findings, Plan, run};
