//! Random rooms, and what `plexus-events` is compared with over them.
//!
//! [`generate::room`] makes a room from a seed: forks and merges, bans, changes of power levels and join rules, knocks,
//! invites, third-party invites, with timestamps that collide and lie. [`mod@reference`] holds ruma's unprojected
//! resolution over whole states and full auth chains, and naive searches of the graph; [`compare`] holds ours against
//! them. `differential` runs that over as many rooms as one likes; `oracle` writes rooms as JSON lines for
//! `tests/oracle/check.py`.

pub mod actions;
pub mod compare;
pub mod generate;
pub mod lookup;
pub mod odd;
pub mod reference;
pub mod room;
