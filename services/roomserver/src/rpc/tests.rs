//! The query services on a real Postgres, with rows laid down as the worker would.

mod destinations;
mod erasure;
mod fixture;
mod graph;
mod history;
mod key_store;
mod membership_saga;
mod operator;
mod pools;
mod rooms;
mod state;
mod summary;
mod timeline;
mod users;
mod visibility;
