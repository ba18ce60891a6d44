//! Users whom somebody ignores: what they say is not shown, but for state events.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users)

use std::collections::BTreeMap;

use plexus_matrix_http::MatrixError;
use plexus_proto::{room::v1::RoomEvent, user::v1::GetAccountDataRequest};
use ruma::UserId;
use serde::{Deserialize, de::IgnoredAny};

use super::{Rooms, ask};

/// Most users that are ignored; further ones are heard.
const MAX_IGNORED: usize = 10_000;

/// Users whom somebody ignores.
#[derive(Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    /// Reads the content of `m.ignored_user_list`; what does not fit ignores nobody.
    fn parse(content: &[u8], owner: &UserId) -> Self {
        #[derive(Deserialize)]
        struct Content {
            ignored_users: BTreeMap<String, IgnoredAny>,
        }
        let Ok(content) = serde_json::from_slice::<Content>(content) else { return Self::default() };
        // Nobody can ignore themselves, and nothing with a NUL is a user.
        let users = content.ignored_users.into_keys();
        Self(users.filter(|user| user != owner && !user.contains('\0')).take(MAX_IGNORED).collect())
    }

    /// The users.
    pub(super) fn to_vec(&self) -> Vec<String> {
        self.0.clone()
    }

    /// Whether the user is one of them. They are sorted, as the keys of the object are.
    pub(super) fn contains(&self, user: &str) -> bool {
        self.0.binary_search_by(|ignored| ignored.as_str().cmp(user)).is_ok()
    }

    /// Whether what the event says is not shown.
    pub(super) fn hides(&self, event: &RoomEvent) -> bool {
        #[derive(Deserialize)]
        struct Parts<'a> {
            #[serde(borrow)]
            sender: std::borrow::Cow<'a, str>,
            state_key: Option<IgnoredAny>,
        }
        !self.0.is_empty()
            && serde_json::from_slice::<Parts<'_>>(&event.json)
                .is_ok_and(|parts| parts.state_key.is_none() && self.contains(&parts.sender))
    }
}

impl Rooms {
    /// Reads whom a user ignores.
    pub(super) async fn ignored(&self, user: &UserId) -> Result<Ignored, MatrixError> {
        let request = GetAccountDataRequest {
            user_id: user.to_string(),
            room_id: String::new(),
            r#type: "m.ignored_user_list".to_owned(),
        };
        match ask(self.users.clone().get_account_data(request)).await {
            Ok(answer) => Ok(Ignored::parse(&answer.content, user)),
            Err(error) if error.is("M_NOT_FOUND") => Ok(Ignored::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn nobody_ignores_themselves() {
        let content = br#"{"ignored_users":{"@me:x":{},"@b:x":{},"@a:x":1}}"#;
        let ignored = Ignored::parse(content, user_id!("@me:x"));
        assert_eq!(ignored.to_vec(), ["@a:x", "@b:x"]);
        assert!(ignored.contains("@b:x") && !ignored.contains("@me:x"));
        for content in ["{}", "[]", r#"{"ignored_users":[]}"#, "nonsense"] {
            assert!(Ignored::parse(content.as_bytes(), user_id!("@me:x")).to_vec().is_empty());
        }
    }
}
