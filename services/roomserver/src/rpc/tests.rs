//! The query services on a real Postgres, with rows laid down as the worker would.

mod fixture;
mod operator;
mod rooms;
mod state;
mod timeline;
mod users;
