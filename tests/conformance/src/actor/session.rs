//! What users do with their account and their sessions.

use serde_json::{Value, json};

use super::User;
use crate::wire::{Answer, Json as _, Request};

impl User {
    /// The body that logs in by password.
    pub(crate) fn login(&self) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": self.localpart },
            "password": self.password,
        })
    }

    /// Logs in by password: another session of the same user.
    pub(crate) async fn logs_in(&self) -> Self {
        let answer = self.client.with_token(None).post("/login", self.login()).await.ok();
        Self::new(self.client.clone(), &self.client.name, &self.localpart, &self.password, &answer)
    }

    /// Makes a request that asks for authentication, and makes it again with the password.
    pub(crate) async fn confirms(&self, request: Request) -> Answer {
        let first = request.clone().await;
        assert!(first.status == 401, "wanted to be asked for authentication, but {first}");
        let by_password = json!({ "stages": ["m.login.password"] });
        assert!(first.body.list("/flows").contains(&by_password), "a password does not do: {first}");
        let mut auth = self.login();
        auth["session"] = json!(first.body.text("/session"));
        request.with("auth", auth).await
    }

    /// `GET /account/whoami`
    pub(crate) fn asks_who_they_are(&self) -> Request {
        self.get("/account/whoami")
    }

    /// `PUT /profile/{userId}/{keyName}` of their own.
    pub(crate) fn sets_profile(&self, key: &str, value: Value) -> Request {
        self.put(path!("/profile/{}/{}", self.id, key), json!({ key: value }))
    }

    /// `GET /profile/{userId}`
    pub(crate) fn reads_profile(&self, of: &Self) -> Request {
        self.get(path!("/profile/{}", of.id))
    }
}
