//! Users of other servers who come into our rooms and leave them, and invites to users of ours.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#joining-rooms)
//!
//! A handshake has two halves. `make_…` tells a template, for an event that the rules would let be now. `send_…` takes
//! the event that the other server has made of it: it must be of the room of the path, be the event of the path, and be
//! what its sender, a user of the server that asks, does about themselves. Nothing is signed here that says anything else.

pub(crate) mod check;
pub(crate) mod invite;
pub(crate) mod make;
pub(crate) mod rescind;
pub(crate) mod send_join;
pub(crate) mod send_knock;
pub(crate) mod send_leave;
pub(crate) mod stripped;
pub(crate) mod third_party;
