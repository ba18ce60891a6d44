//! What a server answered, and what can be asked of it.

use std::fmt;

use serde_json::Value;

/// An answer. Its methods fail the test if it is not what they ask for.
#[derive(Debug, Clone)]
#[must_use = "an answer that nobody looks at proves nothing"]
pub(crate) struct Answer {
    /// Method and path of the request.
    pub(crate) request: String,
    /// HTTP status.
    pub(crate) status: u16,
    /// Header fields, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body; null if it is not JSON.
    pub(crate) body: Value,
    /// Body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered {} {}", self.request, self.status, self.body)
    }
}

impl Answer {
    /// The status is 200; returns the body.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status == 200, "wanted 200, but {self}");
        assert!(self.body.is_object() || self.body.is_array(), "wanted JSON, but {self}");
        self.body
    }

    /// It is an error of that status and `errcode`, in the standard form; returns the body.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, errcode: &str) -> Value {
        self.refused_as(&[(status, errcode)])
    }

    /// It is one of these errors: where the specification leaves several open.
    #[track_caller]
    pub(crate) fn refused_as(self, errors: &[(u16, &str)]) -> Value {
        let found = (self.status, self.errcode());
        assert!(errors.contains(&found), "wanted {errors:?}, but {self}");
        assert!(self.body["error"].is_string(), "an error must say `error`, but {self}");
        self.body
    }

    /// `errcode`, or nothing.
    pub(crate) fn errcode(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or_default()
    }

    /// A header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What can be asked of JSON. The path is a JSON pointer: `/rooms/join`.
pub(crate) trait Json {
    /// What is there; fails the test if nothing is.
    fn at(&self, path: &str) -> &Value;
    /// The text there.
    fn text(&self, path: &str) -> String;
    /// The list there.
    fn list(&self, path: &str) -> &Vec<Value>;
    /// Whether there is something.
    fn has(&self, path: &str) -> bool;
}

impl Json for Value {
    #[track_caller]
    fn at(&self, path: &str) -> &Value {
        match self.pointer(path) {
            Some(value) => value,
            None => panic!("wanted {path} in {self}"),
        }
    }

    #[track_caller]
    fn text(&self, path: &str) -> String {
        match self.at(path) {
            Value::String(text) => text.clone(),
            other => panic!("wanted text at {path}, found {other} in {self}"),
        }
    }

    #[track_caller]
    fn list(&self, path: &str) -> &Vec<Value> {
        match self.at(path) {
            Value::Array(list) => list,
            other => panic!("wanted a list at {path}, found {other} in {self}"),
        }
    }

    fn has(&self, path: &str) -> bool {
        self.pointer(path).is_some()
    }
}
