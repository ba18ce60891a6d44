//! The account half of the client-server API, over `Router::oneshot`: a real log in memory, and a room server whose
//! users are a map.

mod data;
mod http;
mod login;
mod profile;
mod register;
mod sessions;
mod world;
