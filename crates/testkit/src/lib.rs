//! Shared parts of tests: databases, server processes and the actors who use them.
//!
//! It knows no crate of a service: servers are processes, reached as clients reach them.

pub mod actor;
pub mod server;
