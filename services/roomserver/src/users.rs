//! Users: accounts, devices, tokens, profiles, account data, filters. Pure: no SQL, no gRPC, no clock, no randomness.
//!
//! The worker hands [`apply()`] a user and a command; it gets back the user after it, what to write and what to put out,
//! or a refusal. The same commands in the same order give the same users.

mod account;
mod apply;
mod data;
mod devices;
mod profile;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    apply::{Applied, At, Outcome, apply},
    state::{AccessToken, Account, Change, Device, RefreshToken, TokenHash, User},
};
