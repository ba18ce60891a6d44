//! Events and states of rooms.

pub(crate) mod backfill;
pub(crate) mod by_time;
pub(crate) mod event;
pub(crate) mod event_auth;
pub(crate) mod missing_events;
mod pdus;
pub(crate) mod state;
