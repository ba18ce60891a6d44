//! Fills profiles into member events.

use serde_json::{Map, Value};

/// The parts of a profile that member events carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) displayname: Option<String>,
    pub(crate) avatar_url: Option<String>,
}

impl Profile {
    /// Makes the content of a member event.
    pub(crate) fn member_content(&self, membership: &str, reason: Option<&str>) -> Value {
        let mut content = membership_content(membership, reason);
        let parts = [("displayname", &self.displayname), ("avatar_url", &self.avatar_url)];
        for (key, value) in parts {
            if let (Some(value), Some(content)) = (value, content.as_object_mut()) {
                content.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        content
    }
}

/// Makes the content of a member event that says nothing of the user.
pub(crate) fn membership_content(membership: &str, reason: Option<&str>) -> Value {
    let mut content = Map::new();
    content.insert("membership".to_owned(), Value::from(membership));
    if let Some(reason) = reason {
        content.insert("reason".to_owned(), Value::from(reason));
    }
    Value::Object(content)
}
