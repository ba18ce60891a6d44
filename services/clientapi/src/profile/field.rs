//! The fields of a profile: their names and their values.

use bytes::Bytes;
use http::StatusCode;
use plexus_matrix_http::MatrixError;
use serde_json::Value;

/// Longest name of a field, in bytes.
const MAX_NAME: usize = 255;
/// Largest profile, in bytes of names and values.
const MAX_PROFILE: usize = 64 * 1024;
/// Longest display name and avatar URL, in bytes: both go into every member event of the user.
const MAX_DISPLAY_NAME: usize = 1024;
const MAX_AVATAR_URL: usize = 2048;

/// Refuses names outside the grammar for common namespaced identifiers.
pub(super) fn check_name(name: &str) -> Result<(), MatrixError> {
    if name.len() > MAX_NAME {
        return Err(MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_KEY_TOO_LARGE",
            "The name of the field has more than 255 bytes",
        ));
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(allowed) {
        return Err(MatrixError::invalid_param("The name of the field is not a namespaced identifier"));
    }
    Ok(())
}

/// Returns the value to store; `None` if the field is to be removed, which is what old clients mean by an empty name
/// or avatar.
pub(super) fn check_value(name: &str, value: Value) -> Result<Option<Value>, MatrixError> {
    let limit = match name {
        "displayname" => MAX_DISPLAY_NAME,
        "avatar_url" => MAX_AVATAR_URL,
        "m.tz" => 255,
        _ => return Ok(Some(value)),
    };
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if text.len() > limit => {
            Err(MatrixError::invalid_param(format!("`{name}` has more than {limit} bytes")))
        }
        Value::String(text) => Ok(Some(Value::String(text))),
        _ => Err(MatrixError::bad_json(format!("`{name}` must be a string"))),
    }
}

/// Refuses a profile that would grow too large.
pub(super) fn check_size<'a>(
    others: impl Iterator<Item = (&'a String, &'a Bytes)>,
    name: &str,
    value: &str,
) -> Result<(), MatrixError> {
    // Quotes, colon and comma for each.
    let size = |name: &str, value: usize| name.len() + value + 4;
    let rest: usize =
        others.filter(|(other, _)| *other != name).map(|(name, value)| size(name, value.len())).sum();
    if rest + size(name, value.len()) > MAX_PROFILE {
        return Err(MatrixError::new(
            StatusCode::BAD_REQUEST,
            "M_PROFILE_TOO_LARGE",
            "The profile would have more than 64 KiB",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for name in ["displayname", "avatar_url", "m.tz", "org.example.key-1"] {
            check_name(name).unwrap();
        }
        for name in ["", "Upper", "1a", ".a", "a b", "é", "a/b"] {
            assert!(check_name(name).unwrap_err().is("M_INVALID_PARAM"), "{name}");
        }
        assert!(check_name(&"a".repeat(256)).unwrap_err().is("M_KEY_TOO_LARGE"));
    }

    #[test]
    fn names_and_avatars_are_strings() {
        assert_eq!(check_value("displayname", json!("")).unwrap(), None);
        assert_eq!(check_value("avatar_url", Value::Null).unwrap(), None);
        assert!(check_value("displayname", json!(["x"])).unwrap_err().is("M_BAD_JSON"));
        assert_eq!(check_value("org.x", json!({"a": [1.5]})).unwrap(), Some(json!({"a": [1.5]})));
        assert_eq!(check_value("org.x", Value::Null).unwrap(), Some(Value::Null));
    }

    #[test]
    fn profiles_have_an_end() {
        let fields = [("org.a".to_owned(), Bytes::from(vec![b'1'; 60_000]))];
        let others = || fields.iter().map(|(name, value)| (name, value));
        check_size(others(), "org.b", &"1".repeat(5_000)).unwrap();
        check_size(others(), "org.a", &"1".repeat(65_000)).unwrap();
        assert!(check_size(others(), "org.b", &"1".repeat(6_000)).unwrap_err().is("M_PROFILE_TOO_LARGE"));
    }
}
