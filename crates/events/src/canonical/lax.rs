//! Events of room versions 3 to 5, whose JSON "servers MUST NOT strictly enforce": numbers may be of any size and have
//! fractions.
//!
//! The specification does not say how such numbers are written when an event is hashed and signed. Rooms of these
//! versions were made when all servers were Synapse, so they are written as it writes them: integers digit by digit,
//! all others as Python's `repr` of the nearest double.

use std::collections::BTreeMap;

use serde::de::Error as _;

use super::{CanonicalError, MAX_DEPTH, Object, Value, write_string};
use crate::MAX_INTEGER;

/// A JSON object whose numbers are text.
pub(crate) type LaxObject = BTreeMap<String, Lax>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lax {
    /// `null`, `true` or `false`.
    Word(&'static str),
    /// A number as it is hashed.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Lax>),
    /// An object.
    Object(LaxObject),
}

/// Parses the text of a JSON object. Of a key that occurs twice, the last value counts.
///
/// It reads each byte a bounded number of times, however deep the text is nested: it may come from anybody.
pub(crate) fn parse_object(text: &[u8]) -> Result<LaxObject, CanonicalError> {
    let text = std::str::from_utf8(text).map_err(serde_json::Error::custom)?;
    // The grammar is serde_json's matter; what is left is to find where tokens begin and end.
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    let mut scanner = Scanner { rest: text };
    match scanner.value(0)? {
        Lax::Object(object) => Ok(object),
        Lax::Word(_) | Lax::Number(_) | Lax::String(_) | Lax::Array(_) => {
            Err(serde_json::Error::custom("expected an object").into())
        }
    }
}

/// Reads a text that is JSON.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn value(&mut self, depth: usize) -> Result<Lax, CanonicalError> {
        match self.peek() {
            Some(b'{') => self.object(deeper(depth)?).map(Lax::Object),
            Some(b'[') => self.array(deeper(depth)?).map(Lax::Array),
            Some(b'"') => self.string().map(Lax::String),
            _ => {
                let end = self.rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(self.rest.len());
                Ok(match self.take(end) {
                    "true" => Lax::Word("true"),
                    "false" => Lax::Word("false"),
                    "null" => Lax::Word("null"),
                    text => Lax::Number(number(text)?),
                })
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<LaxObject, CanonicalError> {
        let mut object = LaxObject::new();
        self.take(1);
        loop {
            match self.peek() {
                Some(b'"') => {
                    let key = self.string()?;
                    // The colon.
                    self.peek();
                    self.take(1);
                    let value = self.value(depth)?;
                    object.insert(key, value);
                }
                Some(b'}') => {
                    self.take(1);
                    return Ok(object);
                }
                Some(_) => {
                    self.take(1);
                }
                None => return Err(ended()),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Lax>, CanonicalError> {
        let mut items = Vec::new();
        self.take(1);
        loop {
            match self.peek() {
                Some(b']') => {
                    self.take(1);
                    return Ok(items);
                }
                Some(b',') => {
                    self.take(1);
                }
                Some(_) => items.push(self.value(depth)?),
                None => return Err(ended()),
            }
        }
    }

    fn string(&mut self) -> Result<String, CanonicalError> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'"' => return Ok(serde_json::from_str(self.take(end + 1))?),
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        Err(ended())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

fn deeper(depth: usize) -> Result<usize, CanonicalError> {
    if depth >= MAX_DEPTH {
        return Err(serde_json::Error::custom("nested too deeply").into());
    }
    Ok(depth + 1)
}

fn ended() -> CanonicalError {
    serde_json::Error::custom("the text ended early").into()
}

/// Writes a number as it is hashed.
fn number(text: &str) -> Result<String, CanonicalError> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Ok(if text == "-0" { "0".to_owned() } else { text.to_owned() });
    }
    let number: f64 = text.parse().map_err(serde_json::Error::custom)?;
    if !number.is_finite() {
        return Err(serde_json::Error::custom("number out of range").into());
    }
    Ok(python_repr(number))
}

/// `repr` of a finite double: the fewest digits that read back as the same, as a decimal from 1e-4 up to 1e16, else with
/// an exponent of at least two digits.
fn python_repr(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    // Rust writes doubles as decimals of any length.
    let decimal = format!("{number}");
    if decimal.contains('.') { decimal } else { format!("{decimal}.0") }
}

/// Appends the form that is hashed.
pub(crate) fn write_object(object: &LaxObject, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

fn write(value: &Lax, out: &mut Vec<u8>) {
    match value {
        Lax::Word(word) => out.extend_from_slice(word.as_bytes()),
        Lax::Number(number) => out.extend_from_slice(number.as_bytes()),
        Lax::String(string) => write_string(string, out),
        Lax::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Lax::Object(object) => write_object(object, out),
    }
}

/// Returns the form that is hashed, without some of the fields.
pub(crate) fn without(object: &LaxObject, fields: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let kept = object.iter().filter(|(key, _)| !fields.contains(&key.as_str()));
    write_object(&kept.map(|(key, value)| (key.clone(), value.clone())).collect(), &mut out);
    out
}

/// The object with `null` in the place of every number that has no canonical form, and whether there is one.
pub(crate) fn strict(object: &LaxObject) -> (Object, bool) {
    let mut is_lax = false;
    let fields = object.iter().map(|(key, value)| (key.clone(), strict_value(value, &mut is_lax)));
    (fields.collect(), is_lax)
}

fn strict_value(value: &Lax, is_lax: &mut bool) -> Value {
    match value {
        Lax::Word("true") => Value::Bool(true),
        Lax::Word("false") => Value::Bool(false),
        Lax::Word(_) => Value::Null,
        Lax::Number(number) => {
            let integer = number.parse::<i64>().ok().filter(|integer| integer.abs() <= MAX_INTEGER);
            let integer = integer.and_then(ruma::Int::new);
            *is_lax |= integer.is_none();
            integer.map_or(Value::Null, Value::Integer)
        }
        Lax::String(string) => Value::String(string.clone()),
        Lax::Array(items) => Value::Array(items.iter().map(|item| strict_value(item, is_lax)).collect()),
        Lax::Object(object) => {
            let (object, inner) = strict(object);
            *is_lax |= inner;
            Value::Object(object)
        }
    }
}

/// Takes away what the redaction algorithm of these versions does not keep.
pub(crate) fn prune(object: &mut LaxObject) {
    const KEPT: [&str; 15] = [
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "prev_state",
        "auth_events",
        "origin",
        "origin_server_ts",
        "membership",
    ];
    let kept: &[&str] = match object.get("type") {
        Some(Lax::String(event_type)) => match event_type.as_str() {
            "m.room.member" => &["membership"],
            "m.room.create" => &["creator"],
            "m.room.join_rules" => &["join_rule"],
            "m.room.power_levels" => &[
                "ban",
                "events",
                "events_default",
                "kick",
                "redact",
                "state_default",
                "users",
                "users_default",
            ],
            "m.room.aliases" => &["aliases"],
            "m.room.history_visibility" => &["history_visibility"],
            _ => &[],
        },
        _ => &[],
    };
    object.retain(|field, _| KEPT.contains(&field.as_str()));
    if let Some(Lax::Object(content)) = object.get_mut("content") {
        content.retain(|field, _| kept.contains(&field.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_object, python_repr, strict, write_object};

    fn canonical(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_object(&parse_object(text.as_bytes()).ok()?, &mut out);
        String::from_utf8(out).ok()
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, written) in [
            ("1.5", "1.5"),
            ("1.0", "1.0"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1e3", "1000.0"),
            ("1E+15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("1e300", "1e+300"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("9007199254740993", "9007199254740993"),
            ("-1180591620717411303424", "-1180591620717411303424"),
        ] {
            assert_eq!(canonical(&format!(r#"{{"a":{number}}}"#)), Some(format!(r#"{{"a":{written}}}"#)));
        }
        assert_eq!(python_repr(f64::MIN_POSITIVE), "2.2250738585072014e-308");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in
            ["", "[]", "{", r#"{"a":1e400}"#, r#"{"a":01}"#, r#"{"a":NaN}"#, r#"{"a":1.}"#, r#"{"a":-}"#]
        {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert_eq!(canonical(&format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200))), None);
        assert_eq!(canonical("{\"a\":\"\u{1}\"}"), None);
        assert_eq!(canonical(r#"{"a":"\ud800"}"#), None);
        assert_eq!(canonical(r#"{"a":1}{"#), None);
    }

    #[test]
    fn all_but_numbers_is_canonical_json() {
        let text = r#"{ "b" : [ null, true, false, {"x":"\u00e9\n"} ], "a": -1, "a": 2 }"#;
        assert_eq!(canonical(text).as_deref(), Some(r#"{"a":2,"b":[null,true,false,{"x":"é\n"}]}"#));
        let (object, is_lax) = strict(&parse_object(text.as_bytes()).unwrap());
        assert!(!is_lax);
        assert_eq!(object, super::super::parse_object(text.as_bytes()).unwrap());
        assert!(strict(&parse_object(br#"{"a":[{"b":1.5}]}"#).unwrap()).1);
    }

    /// Each level once had what is inside of it scanned anew.
    #[test]
    fn depth_does_not_multiply_the_work() {
        let long = "[1.5],".repeat(100_000);
        let text = |depth: usize| format!(r#"{{"a":{}[{long}1]{}}}"#, "[".repeat(depth), "]".repeat(depth));
        // The quickest of several, for the machine may be busy.
        let quickest = |text: String| {
            let time = |_| {
                let began = std::time::Instant::now();
                assert!(parse_object(text.as_bytes()).is_ok());
                began.elapsed()
            };
            (0..5).map(time).min().unwrap()
        };
        let (deep, flat) = (quickest(text(97)), quickest(text(0)));
        assert!(deep < flat * 10, "{deep:?}, {flat:?}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_both_forms_read_they_write_alike(text in r#"[ \[\]{}:,"a\\\\u0-9.eE+-]{0,40}"#, wrap: bool) {
            let text = if wrap { format!(r#"{{"a":[{text}]}}"#) } else { text };
            if let Ok(object) = super::super::parse_object(text.as_bytes()) {
                let strict = String::from_utf8(super::super::object_to_vec(&object)).ok();
                proptest::prop_assert_eq!(canonical(&text), strict);
            } else {
                canonical(&text);
            }
        }
    }
}
