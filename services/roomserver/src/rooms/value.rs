//! Extracts the part of an event's content that queries need as a column.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// Longest text that names something: what is longer fits into no index.
const MAX_NAME_BYTES: usize = 255;
/// Longest value, in bytes: names and aliases are shorter, and of a topic this much is searched.
const MAX_BYTES: usize = 1024;

/// Types of state events that have a value, each with the key of its content that is it.
pub(crate) const VALUES: [(&str, &str); 7] = [
    ("m.room.member", "membership"),
    ("m.room.create", "type"),
    ("m.room.name", "name"),
    ("m.room.topic", "topic"),
    ("m.room.canonical_alias", "alias"),
    ("m.room.join_rules", "join_rule"),
    ("m.room.history_visibility", "history_visibility"),
];

/// Returns the value of a state event; `None` if its type has none, or the content does not say it.
pub(crate) fn value_of(event_type: &str, json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: std::collections::BTreeMap<Cow<'a, str>, &'a serde_json::value::RawValue>,
    }
    let (_, key) = VALUES.iter().find(|(known, _)| *known == event_type)?;
    let event: Event<'_> = serde_json::from_slice(json).ok()?;
    match serde_json::from_str(event.content.get(*key)?.get()).ok()? {
        Value::String(text) => Some(storable(text)),
        _ => None,
    }
}

/// Whether a text from content can be kept as the name of something: an event ID, a relation type, an alias.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && !text.contains('\0')
}

/// Makes a text fit for a column: Postgres holds no U+0000, and nothing is unbounded.
pub(crate) fn storable(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
    }
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(event_type: &str, content: &Value) -> Option<String> {
        value_of(event_type, json!({ "content": content, "reason": "\0" }).to_string().as_bytes())
    }

    #[test]
    fn values_fit_into_columns_whatever_the_content_is() {
        let member = json!({ "membership": "join", "displayname": "\0", "\0": ["\0"] });
        assert_eq!(value("m.room.member", &member).as_deref(), Some("join"));
        assert_eq!(value("m.room.name", &json!({ "name": "a\0b" })).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(value("m.room.name", &json!({ "name": 1 })), None);
        assert_eq!(value("m.room.name", &json!({})), None);
        assert_eq!(value("m.room.message", &json!({ "name": "x" })), None);
        let long = value("m.room.topic", &json!({ "topic": "\0é".repeat(1000) })).expect("a topic");
        assert!(long.len() <= 3 * MAX_BYTES && long.starts_with("\u{fffd}é"), "{}", long.len());
        assert_eq!(value_of("m.room.name", b"not JSON"), None);
        assert!(is_name("$a") && !is_name("$a\0") && !is_name(&"a".repeat(256)));
    }
}
