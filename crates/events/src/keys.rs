//! Keys of devices and users: their form, and signatures on them.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ed25519_dalek::{Signature, VerifyingKey};
use ruma::UserId;

use crate::canonical::{self, Object, Value};

/// Reads keys and signatures: padding is forbidden by the specification, and tolerated nowhere.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);
/// Most bytes of the ID of a key or of the name of an algorithm.
const MAX_NAME_BYTES: usize = 255;

/// An object that is no key, in words for whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

fn wrong<T>(message: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError(message.into()))
}

/// What signatures on an object are made over: its canonical form without `signatures` and `unsigned`.
#[must_use]
pub fn signed_part(object: &Object) -> Vec<u8> {
    let kept = object.iter().filter(|(key, _)| *key != "signatures" && *key != "unsigned");
    let kept: Object = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    canonical::object_to_vec(&kept)
}

/// Finds a signature in an object.
#[must_use]
pub fn find_signature<'a>(object: &'a Object, user: &str, key_id: &str) -> Option<&'a str> {
    object.get("signatures")?.as_object()?.get(user)?.as_object()?.get(key_id)?.as_str()
}

/// The signatures that a user has put on an object, by key ID; what is no string is left out.
pub fn signatures_by<'a>(object: &'a Object, user: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let by_user = object.get("signatures").and_then(Value::as_object).and_then(|users| users.get(user));
    let by_key = by_user.and_then(Value::as_object).into_iter().flatten();
    by_key.filter_map(|(key_id, signature)| Some((key_id.as_str(), signature.as_str()?)))
}

/// Whether a signature on an object was made by a key; both in unpadded base64.
#[must_use]
pub fn is_signed(object: &Object, public_key: &str, signature: &str) -> bool {
    let Some(key) = decode::<32>(public_key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()) else {
        return false;
    };
    let Some(signature) = decode::<64>(signature) else { return false };
    key.verify_strict(&signed_part(object), &Signature::from_bytes(&signature)).is_ok()
}

/// The ed25519 key of a device, in its identity keys.
#[must_use]
pub fn device_signing_key<'a>(device_keys: &'a Object, device_id: &str) -> Option<&'a str> {
    device_keys.get("keys")?.as_object()?.get(&format!("ed25519:{device_id}"))?.as_str()
}

/// Checks the identity keys of a device.
///
/// # Errors
///
/// Fails with what is wrong.
pub fn check_device_keys(object: &Object, user: &UserId, device_id: &str) -> Result<(), KeyError> {
    if text(object, "user_id")? != user.as_str() {
        return wrong("`device_keys.user_id` is not the user who uploads them");
    }
    if text(object, "device_id")? != device_id {
        return wrong("`device_keys.device_id` is not the device that uploads them");
    }
    let Some(Value::Array(algorithms)) = object.get("algorithms") else {
        return wrong("`algorithms` is missing or no list");
    };
    if algorithms.iter().any(|algorithm| algorithm.as_str().is_none()) {
        return wrong("`algorithms` holds something that is no string");
    }
    for (key_id, key) in members(object, "keys")? {
        let Some((algorithm, of)) = key_id.split_once(':') else {
            return wrong("the ID of a key has no colon");
        };
        if of != device_id || algorithm.is_empty() || key_id.len() > 2 * MAX_NAME_BYTES {
            return wrong("a key in `keys` does not belong to the device");
        }
        check_public_key(algorithm, key)?;
    }
    check_signatures(object, true)
}

/// Checks a cross-signing key and returns its public key.
///
/// # Errors
///
/// Fails with what is wrong.
pub fn check_cross_signing_key<'a>(
    object: &'a Object,
    user: &UserId,
    usage: &str,
) -> Result<&'a str, KeyError> {
    if text(object, "user_id")? != user.as_str() {
        return wrong(format!("`user_id` of the {usage} key is not the user who uploads it"));
    }
    let Some(Value::Array(usages)) = object.get("usage") else {
        return wrong(format!("`usage` of the {usage} key is missing or no list"));
    };
    if usages.iter().any(|usage| usage.as_str().is_none())
        || !usages.iter().any(|one| one.as_str() == Some(usage))
    {
        return wrong(format!("`usage` of the {usage} key does not hold `{usage}`"));
    }
    check_signatures(object, false)?;
    let mut keys = members(object, "keys")?.iter();
    let (Some((key_id, key)), None) = (keys.next(), keys.next()) else {
        return wrong(format!("`keys` of the {usage} key must hold one key"));
    };
    let Some(public_key) = key.as_str() else { return wrong("a key is no string") };
    if key_id.strip_prefix("ed25519:") != Some(public_key) || decode::<32>(public_key).is_none() {
        return wrong(format!("the {usage} key must be an ed25519 key under its own name"));
    }
    Ok(public_key)
}

/// Checks a one-time or fallback key; `name` is `<algorithm>:<key ID>`. Returns algorithm and ID.
///
/// # Errors
///
/// Fails with what is wrong.
pub fn check_published_key<'a>(name: &'a str, key: &Value) -> Result<(&'a str, &'a str), KeyError> {
    let Some((algorithm, key_id)) = name.split_once(':') else {
        return wrong("the ID of a key has no colon");
    };
    if algorithm.is_empty() || key_id.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        return wrong("the ID of a key is too short, too long, or has a NUL");
    }
    match key {
        Value::String(_) if algorithm == "signed_curve25519" => {
            return wrong("a signed key must be an object");
        }
        Value::String(_) => check_public_key(algorithm, key)?,
        Value::Object(object) => {
            let Some(public_key) = object.get("key") else { return wrong("`key` of a key is missing") };
            check_public_key(algorithm, public_key)?;
            if object.get("fallback").is_some_and(|fallback| fallback.as_bool().is_none()) {
                return wrong("`fallback` of a key is neither true nor false");
            }
            check_signatures(object, algorithm == "signed_curve25519")?;
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Array(_) => {
            return wrong("a key is neither a string nor an object");
        }
    }
    Ok((algorithm, key_id))
}

fn check_public_key(algorithm: &str, key: &Value) -> Result<(), KeyError> {
    let Some(text) = key.as_str() else { return wrong("a key is no string") };
    if matches!(algorithm, "ed25519" | "curve25519" | "signed_curve25519") && decode::<32>(text).is_none() {
        return wrong(format!("a key of {algorithm} must be 32 bytes in unpadded base64"));
    }
    Ok(())
}

/// Signatures are objects of objects of strings.
fn check_signatures(object: &Object, required: bool) -> Result<(), KeyError> {
    match object.get("signatures") {
        None if !required => return Ok(()),
        Some(Value::Object(users)) => {
            for signatures in users.values() {
                let Some(signatures) = signatures.as_object() else {
                    return wrong("`signatures` of a user is no object");
                };
                if signatures.values().any(|signature| signature.as_str().is_none()) {
                    return wrong("a signature is no string");
                }
            }
        }
        Some(_) | None => return wrong("`signatures` is missing or no object"),
    }
    Ok(())
}

fn text<'a>(object: &'a Object, field: &str) -> Result<&'a str, KeyError> {
    match object.get(field).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => wrong(format!("`{field}` is missing or no string")),
    }
}

fn members<'a>(object: &'a Object, field: &str) -> Result<&'a Object, KeyError> {
    match object.get(field).and_then(Value::as_object) {
        Some(members) => Ok(members),
        None => wrong(format!("`{field}` is missing or no object")),
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    UNPADDED.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
    use ruma::user_id;

    use super::*;
    use crate::SigningKey;

    fn object(text: &str) -> Object {
        canonical::parse_object(text.as_bytes()).unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed("1", &[seed; 32]).unwrap()
    }

    fn public(key: &SigningKey) -> String {
        STANDARD_NO_PAD.encode(key.public_key())
    }

    #[test]
    fn signatures_are_over_all_but_signatures_and_unsigned() {
        let (own, other) = (key(1), key(2));
        let plain = object(r#"{"b":1,"a":[true]}"#);
        let signature = own.sign(&signed_part(&plain));
        let shown = object(r#"{"a":[true],"b":1,"signatures":{"@a:b":{}},"unsigned":{"c":2}}"#);
        assert!(is_signed(&shown, &public(&own), &signature));
        assert!(!is_signed(&shown, &public(&other), &signature));
        assert!(!is_signed(&object(r#"{"a":[true],"b":2}"#), &public(&own), &signature));
        assert!(!is_signed(&shown, &public(&own), "AAAA"));
    }

    #[test]
    fn device_keys_name_their_device() {
        let user = user_id!("@alice:example.org");
        let public = public(&key(1));
        let keys = |id: &str, key: &str, rest: &str| {
            object(&format!(
                r#"{{"user_id":"@alice:example.org","device_id":"DEV","algorithms":["a"],"keys":{{"{id}":"{key}"}}{rest}}}"#
            ))
        };
        let signed = r#","signatures":{}"#;
        assert_eq!(check_device_keys(&keys("ed25519:DEV", &public, signed), user, "DEV"), Ok(()));
        for (object, device) in [
            (keys("ed25519:DEV", &public, signed), "OTHER"),
            (keys("ed25519:OTHER", &public, signed), "DEV"),
            (keys("ed25519", &public, signed), "DEV"),
            (keys("curve25519:DEV", "short", signed), "DEV"),
            (keys("ed25519:DEV", &format!("{public}="), signed), "DEV"),
            (keys("ed25519:DEV", &public, ""), "DEV"),
            (keys("ed25519:DEV", &public, r#","signatures":null"#), "DEV"),
            (keys("ed25519:DEV", &public, r#","signatures":{"@a:b":1}"#), "DEV"),
        ] {
            assert!(check_device_keys(&object, user, device).is_err(), "{object:?}");
        }
        assert!(check_device_keys(&keys("ed25519:DEV", &public, signed), user_id!("@bob:b"), "DEV").is_err());
    }

    #[test]
    fn cross_signing_keys_are_one_key_under_its_own_name() {
        let user = user_id!("@alice:example.org");
        let (own, other) = (public(&key(1)), public(&key(2)));
        let master = |keys: &str| {
            object(&format!(r#"{{"user_id":"@alice:example.org","usage":["master"],"keys":{{{keys}}}}}"#))
        };
        let one = format!(r#""ed25519:{own}":"{own}""#);
        assert_eq!(check_cross_signing_key(&master(&one), user, "master"), Ok(own.as_str()));
        assert!(check_cross_signing_key(&master(&one), user, "self_signing").is_err());
        assert!(check_cross_signing_key(&master(""), user, "master").is_err());
        assert!(
            check_cross_signing_key(&master(&format!(r#""ed25519:{other}":"{own}""#)), user, "master")
                .is_err()
        );
        let two = format!(r#"{one},"ed25519:{other}":"{other}""#);
        assert!(check_cross_signing_key(&master(&two), user, "master").is_err());
    }
}
