//! Users, and what they do.
//!
//! Verbs in the third person are requests whose answer a test looks at (`bob.joins(&room).await.ok()`); a few that are
//! mostly setup insist on success and return what came of it (`alice.says(&room, "hello").await`).

mod room;
mod session;
pub(crate) mod sync;

use std::ops::Deref;

use serde_json::Value;

pub(crate) use room::Room;

use crate::wire::{Client, Json as _};

/// A user with a session. Makes any request that a [`Client`] can.
#[derive(Debug, Clone)]
pub(crate) struct User {
    client: Client,
    /// User ID.
    pub(crate) id: String,
    /// The part of it before the colon.
    pub(crate) localpart: String,
    /// Password.
    pub(crate) password: String,
    /// Device of the session.
    pub(crate) device: String,
}

impl Deref for User {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl User {
    /// From the answer to a registration or a login.
    pub(crate) fn new(client: Client, name: &str, localpart: &str, password: &str, answer: &Value) -> Self {
        let token = answer.text("/access_token");
        let mut client = client.with_token(Some(&token));
        name.clone_into(&mut client.name);
        Self {
            client,
            id: answer.text("/user_id"),
            localpart: localpart.to_owned(),
            password: password.to_owned(),
            device: answer.text("/device_id"),
        }
    }

    /// The access token.
    pub(crate) fn token(&self) -> &str {
        self.client.token.as_deref().unwrap_or_default()
    }
}
