//! Canonical JSON as room versions 6 and later require it: integers within ±(2^53 − 1), no floats, sorted keys.

pub(crate) mod lax;

use std::fmt;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, Int};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON object, keys sorted.
pub type Object = CanonicalJsonObject;
/// A JSON value without floats.
pub type Value = CanonicalJsonValue;

/// How deep objects and arrays may nest. The specification sets no limit; recursion needs one.
pub const MAX_DEPTH: usize = 100;

/// JSON that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("not canonical JSON")]
pub struct CanonicalError(#[from] serde_json::Error);

impl CanonicalError {
    /// Says what is wrong, without the position.
    #[must_use]
    pub fn detail(&self) -> String {
        self.0.to_string()
    }
}

/// Parses the text of a JSON object. Of a key that occurs twice, the last value counts.
///
/// # Errors
///
/// Fails on anything else than an object, floats (also `1.0`, `1e3` and `-0`), integers out of range, and nesting
/// deeper than [`MAX_DEPTH`].
pub fn parse_object(text: &[u8]) -> Result<Object, CanonicalError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::String(_) | Value::Array(_) => {
            Err(CanonicalError(serde_json::Error::custom("expected an object")))
        }
    }
}

/// Returns the canonical form of the text of an object that may hold numbers without one, as events of room versions 3 to
/// 5 do: these are written as servers sign them. For requests between servers, which are signed whole.
///
/// # Errors
///
/// Fails on anything else than an object, and on nesting deeper than [`MAX_DEPTH`].
pub fn lenient(text: &[u8]) -> Result<Vec<u8>, CanonicalError> {
    if let Ok(object) = parse_object(text) {
        return Ok(object_to_vec(&object));
    }
    let mut out = Vec::with_capacity(text.len());
    lax::write_object(&lax::parse_object(text)?, &mut out);
    Ok(out)
}

/// Appends the canonical form of an object.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

/// Returns the canonical form of an object.
#[must_use]
pub fn object_to_vec(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_object(object, &mut out);
    out
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(integer) => write_integer(i64::from(*integer), out),
        Value::String(string) => write_string(string, out),
        Value::Array(array) => {
            out.push(b'[');
            for (index, item) in array.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(object, out),
    }
}

/// Appends an integer.
pub fn write_integer(integer: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(integer.to_string().as_bytes());
}

/// Appends a string, in quotes. Only what must be escaped is escaped, in the shortest way.
pub fn write_string(string: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = string.as_bytes();
    let mut written = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..index]);
        written = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Deserializes a value strictly, counting how deep it is.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without floats")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Int::new(value).map(Value::Integer).ok_or_else(|| E::custom("integer out of range"))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("integer out of range"))?;
        self.visit_i64(value)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("numbers must be integers within ±(2^53 − 1)"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Object::new();
        while let Some(key) = entries.next_key::<String>()? {
            object.insert(key, entries.next_value_seed(deeper)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
