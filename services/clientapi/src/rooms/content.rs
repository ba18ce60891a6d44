//! Checks contents of events: an object of canonical JSON, not too large and not too deep.
//!
//! The room server checks again; here a bad content costs no write to a log, and its error names the place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Largest event of the specification in bytes; its content cannot be larger.
const MAX_EVENT_BYTES: usize = 65_536;
/// Longest type, state key, sender or room ID of an event in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Integers of canonical JSON lie between this and its negative.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why something cannot be an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    /// Not an object, or not canonical JSON.
    #[error("content is not an object of canonical JSON: {0}")]
    NotCanonical(#[source] serde_json::Error),
    /// Too many bytes.
    #[error("event is too large: its {what} takes {size} bytes of at most {limit}")]
    TooLarge {
        /// The part that is too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// Its limit in bytes.
        limit: usize,
    },
    /// A name that cannot be stored.
    #[error("the {what} of the event has a NUL")]
    Nul {
        /// The part that has it.
        what: &'static str,
    },
}

/// Checks the content of an event. Nesting is bounded by the parser.
pub(crate) fn check(content: &str) -> Result<(), ContentError> {
    within("content", content.len(), MAX_EVENT_BYTES)?;
    serde_json::from_str::<Object>(content).map_err(ContentError::NotCanonical)?;
    Ok(())
}

/// Checks the type and the state key of an event.
pub(crate) fn check_key(event_type: &str, state_key: Option<&str>) -> Result<(), ContentError> {
    for (what, text) in [("type", event_type), ("state_key", state_key.unwrap_or_default())] {
        within(what, text.len(), MAX_KEY_BYTES)?;
        if text.contains('\0') {
            return Err(ContentError::Nul { what });
        }
    }
    Ok(())
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), ContentError> {
    if size > limit {
        return Err(ContentError::TooLarge { what, size, limit });
    }
    Ok(())
}

/// An object of canonical JSON; nothing of it is kept.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CanonicalVisitor)?;
        Ok(Self)
    }
}

/// A value of canonical JSON; nothing of it is kept.
struct Canonical;

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CanonicalVisitor)?;
        Ok(Self)
    }
}

struct CanonicalVisitor;

impl<'de> Visitor<'de> for CanonicalVisitor {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("canonical JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_u64(value.unsigned_abs())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        if value > MAX_INTEGER {
            return Err(E::custom("integer is out of range"));
        }
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom("number is not an integer in range"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element::<Canonical>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, Canonical>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_passes() {
        for content in [r"{}", r#"{"a":[1,-9007199254740991,"x",null,true,{"b":{}}]}"#, r#"{"ü":"\u00fc"}"#]
        {
            check(content).unwrap();
        }
    }

    #[test]
    fn other_json_is_refused() {
        for content in [
            "[]",
            "1",
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":[{"b":-9007199254740992}]}"#,
            r#"{"a":123456789012345678901234567890}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"\ud800":1}"#,
            r#"{"a":1} x"#,
        ] {
            assert!(matches!(check(content), Err(ContentError::NotCanonical(_))), "{content}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_overflow() {
        let content = format!(r#"{{"a":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        assert!(matches!(check(&content), Err(ContentError::NotCanonical(_))));
    }

    #[test]
    fn sizes_are_bounded() {
        let content = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES));
        assert!(matches!(check(&content), Err(ContentError::TooLarge { .. })));
        assert!(matches!(check_key(&"x".repeat(256), None), Err(ContentError::TooLarge { .. })));
        assert!(matches!(check_key("x", Some(&"x".repeat(256))), Err(ContentError::TooLarge { .. })));
        assert!(matches!(check_key("x\0", None), Err(ContentError::Nul { what: "type" })));
        assert!(matches!(check_key("x", Some("\0")), Err(ContentError::Nul { what: "state_key" })));
        check_key("x", Some("")).unwrap();
    }
}
