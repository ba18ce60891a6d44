//! Leads other homeservers in: the server-server API, with authentication of its requests, and the keys of this server
//! and of others; and hands on to them what happens here.
//!
//! Nothing here is durable: keys of other servers, and what they have not taken yet, are kept by the room server, which
//! decides what they may read, too.

mod app;
mod blocks;
mod checked;
mod fetcher;
mod front;
mod joins;
mod key_store;
mod metrics;
mod openid;
mod outbound;
mod own_keys;
mod queries;
mod receiver;
mod routes;
mod sender;
mod shown_keys;
mod upstream;

pub use app::{Deps, Federation};

#[cfg(test)]
mod tests;
