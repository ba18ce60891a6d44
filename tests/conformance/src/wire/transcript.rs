//! What was said in a test, to be shown if it fails.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

/// More of a body is not shown.
const SHOWN: usize = 1200;

/// Fields whose values nobody needs to see.
const SECRETS: [&str; 8] =
    ["access_token", "refresh_token", "password", "new_password", "token", "login_token", "mac", "nonce"];

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Who asked.
    pub(crate) who: String,
    /// Method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Body of the request.
    pub(crate) sent: String,
    /// Status; 0 if there was no answer.
    pub(crate) status: u16,
    /// Body of the answer.
    pub(crate) received: String,
    /// How long it took.
    pub(crate) took: Duration,
}

/// All exchanges of a test. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript(Arc<Mutex<Vec<Exchange>>>);

impl Transcript {
    pub(crate) fn add(&self, exchange: Exchange) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }

    /// Everything so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} {} {}", self.who, self.method, shown_path(&self.path), shown(&self.sent))?;
        write!(f, "  {} in {} ms {}", self.status, self.took.as_millis(), shown(&self.received))
    }
}

fn shown_path(path: &str) -> String {
    match path.find("access_token=") {
        Some(start) => {
            let end = path[start..].find('&').map_or(path.len(), |length| start + length);
            format!("{}access_token=...{}", &path[..start], &path[end..])
        }
        None => path.to_owned(),
    }
}

/// A body as it is shown: without secrets, and not too much of it.
fn shown(body: &str) -> String {
    let mut text = match serde_json::from_str::<Value>(body) {
        Ok(mut value) => {
            redact(&mut value);
            value.to_string()
        }
        Err(_) => body.to_owned(),
    };
    if text.len() > SHOWN {
        let end = (0..=SHOWN).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... and {more} bytes more"));
    }
    text
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRETS.contains(&name.as_str()) && value.is_string() {
                    *value = Value::from("...");
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown(r#"{"a":[{"access_token":"x"}],"b":1}"#), r#"{"a":[{"access_token":"..."}],"b":1}"#);
        assert_eq!(shown_path("/sync?access_token=x&since=1"), "/sync?access_token=...&since=1");
    }

    #[test]
    fn long_bodies_are_cut() {
        assert_eq!(shown(&"é".repeat(700)).len(), 1200 + "... and 200 bytes more".len());
    }
}
