//! axum and ruma joined: one extractor and response for ruma's types ([`Matrix`]), authentication ([`AuthedUser`]), one
//! error ([`MatrixError`]), rate limits, the layers that every client-facing listener has, the client format of events
//! and the tokens for paging and sync.
//!
//! It knows how the client-server API looks on the wire. It knows nothing of what endpoints do, nor of how data is
//! stored; it asks the room server only whose access token it holds.

mod address;
mod auth;
mod body;
mod budget;
mod edge;
mod error;
pub mod event;
pub mod invites;
mod layers;
mod matrix;
pub mod media;
mod metrics;
mod policy;
mod rate_limit;
mod routes;
pub mod summary;
pub mod token;
mod turns;

pub use address::ClientAddress;
pub use auth::{AuthedUser, Authenticator, OptionalUser, hash_token};
pub use body::{Json, JsonObject, RawBody, UnreadBody};
pub use edge::Edge;
pub use error::{MatrixError, reason_error};
pub use layers::{apply_layers, apply_server_layers};
pub use matrix::{Matrix, PathArgs, QueryArgs};
pub use policy::{Policy, UserLimit};
pub use rate_limit::{Buckets, LoginSource, RateLimiter, network};
pub use routes::{Endpoint, Routes, delete, get, post, put};
