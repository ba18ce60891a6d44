//! Scenarios across services: servers as processes, users as clients, and an external ledger of what was acknowledged.

pub mod ledger;
pub mod stage;
