//! What a mutant changes.

use std::fmt;

use serde_json::Value;

use crate::wire::Exchange;

/// A change to requests or to answers of an endpoint.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A status becomes another.
    Status(u16, u16),
    /// An `errcode` becomes another.
    Errcode(&'static str, &'static str),
    /// What is refused with this status is answered 200 with this body.
    Allow(u16, &'static str),
    /// A field of the answer is left out. Paths are JSON pointers in which `*` stands for any name or index.
    Drop(&'static str),
    /// A field of the answer, whatever it is, becomes this.
    Set(&'static str, &'static str),
    /// The last entry of a list comes twice.
    Double(&'static str),
    /// The last entry of a list is missing.
    DropLast(&'static str),
    /// The first entry of a list is missing.
    DropFirst(&'static str),
    /// A list is in the opposite order.
    Reverse(&'static str),
    /// A header field of the answer is left out.
    DropHeader(&'static str),
    /// A part of the query is ignored.
    Ignore(&'static str),
    /// A field of the request's body is ignored.
    IgnoreField(&'static str),
    /// A field of the request's body, if it is there, is taken for this.
    SetField(&'static str, &'static str),
    /// What has this text in its request or answer fails.
    Fail(&'static str),
    /// The request is answered with this, and forgotten.
    Lose(&'static str),
    /// The request is forgotten like that if it authenticates itself.
    LoseConfirmed(&'static str),
    /// The request is carried out twice: as if its transaction ID were another each time.
    Repeat,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(from, to) => write!(f, "answers {to} for {from}"),
            Self::Errcode(from, to) => write!(f, "says {to} for {from}"),
            Self::Allow(status, _) => write!(f, "allows what is refused with {status}"),
            Self::Drop(path) => write!(f, "leaves out {path}"),
            Self::Set(path, value) => write!(f, "answers {value} in {path}"),
            Self::Double(path) => write!(f, "repeats the last of {path}"),
            Self::DropLast(path) => write!(f, "misses the last of {path}"),
            Self::DropFirst(path) => write!(f, "misses the first of {path}"),
            Self::Reverse(path) => write!(f, "turns {path} around"),
            Self::DropHeader(name) => write!(f, "leaves out the header {name}"),
            Self::Ignore(name) => write!(f, "ignores {name} in the query"),
            Self::IgnoreField(name) => write!(f, "ignores {name} in the body"),
            Self::SetField(name, value) => write!(f, "takes {name} in the body for {value}"),
            Self::Fail(text) => write!(f, "fails where {text} is said"),
            Self::Lose(_) => f.write_str("acknowledges and does nothing"),
            Self::LoseConfirmed(_) => f.write_str("acknowledges what is authenticated and does nothing"),
            Self::Repeat => f.write_str("forgets transactions"),
        }
    }
}

impl Change {
    /// Whether it would have changed something in what was said.
    pub(crate) fn touches(&self, exchange: &Exchange) -> bool {
        let json = |body: &str| serde_json::from_str::<Value>(body).unwrap_or(Value::Null);
        match *self {
            Self::Ignore(name) => exchange.path.contains(&format!("{name}=")),
            Self::IgnoreField(name) => json(&exchange.sent).get(name).is_some(),
            Self::SetField(name, to) => {
                json(&exchange.sent).get(name).is_some_and(|value| *value != text(to))
            }
            Self::Fail(text) => exchange.sent.contains(text) || exchange.received.contains(text),
            Self::LoseConfirmed(_) => json(&exchange.sent)["auth"].is_object(),
            Self::Lose(_) | Self::Repeat | Self::DropHeader(_) => true,
            Self::Status(..)
            | Self::Errcode(..)
            | Self::Allow(..)
            | Self::Drop(_)
            | Self::Set(..)
            | Self::Double(_)
            | Self::DropLast(_)
            | Self::DropFirst(_)
            | Self::Reverse(_) => {
                let mut status = exchange.status;
                self.answer(&mut status, &mut json(&exchange.received))
            }
        }
    }

    /// Changes an answer; whether there was something to change.
    pub(crate) fn answer(&self, status: &mut u16, body: &mut Value) -> bool {
        match *self {
            Self::Status(from, to) if *status == from => {
                *status = to;
                true
            }
            Self::Errcode(from, to) if body["errcode"] == from => {
                body["errcode"] = Value::from(to);
                true
            }
            Self::Allow(refused, with) if *status == refused => {
                *status = 200;
                *body = text(with);
                true
            }
            Self::Drop(path) => match path.rsplit_once('/') {
                Some((parent, name)) => at_each(body, parent, &mut |value| {
                    value.as_object_mut().is_some_and(|fields| fields.remove(name).is_some())
                }),
                None => false,
            },
            Self::Set(path, to) => at_each(body, path, &mut |value| {
                let to = text(to);
                let changes = *value != to;
                *value = to;
                changes
            }),
            Self::Double(path) => at_list(body, path, |list| {
                let last = list.last().cloned();
                list.extend(last);
            }),
            Self::DropLast(path) => at_list(body, path, |list| {
                list.pop();
            }),
            Self::DropFirst(path) => at_list(body, path, |list| {
                list.remove(0);
            }),
            Self::Reverse(path) => at_list(body, path, |list| list.reverse()),
            Self::Status(..)
            | Self::Errcode(..)
            | Self::Allow(..)
            | Self::DropHeader(_)
            | Self::Ignore(_)
            | Self::IgnoreField(_)
            | Self::SetField(..)
            | Self::Fail(_)
            | Self::Lose(_)
            | Self::LoseConfirmed(_)
            | Self::Repeat => false,
        }
    }
}

/// JSON of a table.
pub(crate) fn text(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| panic!("not JSON: {json}"))
}

/// Calls a function with everything that a path leads to; whether any call changed something.
fn at_each(value: &mut Value, path: &str, change: &mut dyn FnMut(&mut Value) -> bool) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return change(value) };
    let (name, rest) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
    match value {
        Value::Object(fields) if name == "*" => {
            fields.values_mut().fold(false, |changed, value| at_each(value, rest, change) | changed)
        }
        Value::Array(values) if name == "*" => {
            values.iter_mut().fold(false, |changed, value| at_each(value, rest, change) | changed)
        }
        Value::Object(fields) => fields.get_mut(name).is_some_and(|value| at_each(value, rest, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn at_list(body: &mut Value, path: &str, change: impl Fn(&mut Vec<Value>)) -> bool {
    at_each(body, path, &mut |value| match value.as_array_mut() {
        Some(list) if !list.is_empty() => {
            change(list);
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_through_any_name_and_index() {
        let mut body =
            json!({ "rooms": { "a": { "list": [1, 2] }, "b": {} }, "list": [{ "x": 1 }, { "x": 2 }] });
        let mut status = 200;
        assert!(Change::Double("/rooms/*/list").answer(&mut status, &mut body));
        assert!(Change::Drop("/list/*/x").answer(&mut status, &mut body));
        assert_eq!(body, json!({ "rooms": { "a": { "list": [1, 2, 2] }, "b": {} }, "list": [{}, {}] }));
        assert!(!Change::DropLast("/nothing").answer(&mut status, &mut body));
    }

    #[test]
    fn only_what_is_refused_is_allowed() {
        let (mut status, mut body) = (403, json!({ "errcode": "M_FORBIDDEN" }));
        assert!(!Change::Allow(404, "{}").answer(&mut status, &mut body));
        assert!(Change::Allow(403, "{}").answer(&mut status, &mut body));
        assert_eq!((status, body), (200, json!({})));
    }
}
