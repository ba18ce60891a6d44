//! Leads events out to local clients: `GET /_matrix/client/v3/sync`, and sliding sync.
//!
//! It follows the output logs from where the room server says they end, folds them into a view in memory (rooms: current
//! state and recent timeline; users: memberships and account data), wakes waiting requests and answers them. What the
//! view does not hold, it asks the room server for. Nothing here is durable: a process that starts knows nothing, and
//! still understands every token that another one gave out.
//!
//! It knows no SQL and decides nothing about rooms: neither who may see what, nor what the state of a room is.

mod acks;
mod clock;
mod consumers;
mod endpoint;
mod erased;
mod limits;
mod metrics;
mod positions;
mod routes;
mod service;
mod upstream;
mod view;

pub use routes::router;
pub use service::SyncService;

#[cfg(test)]
mod tests;
