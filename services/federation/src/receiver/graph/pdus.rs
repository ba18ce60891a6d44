//! Answers made of events, which are passed on as they are stored.

use axum::response::{IntoResponse as _, Response};
use http::header;
use plexus_proto::room::v1::GraphEvent;
use plexus_s2s::now_ms;

use crate::Federation;

/// An answer in the form of a transaction.
pub(super) fn transaction(federation: &Federation, events: &[GraphEvent]) -> Response {
    let mut body =
        format!("{{\"origin\":\"{}\",\"origin_server_ts\":{},\"pdus\":", federation.name(), now_ms());
    list(&mut body, events);
    body.push('}');
    json(body)
}

/// Appends events as an array.
pub(super) fn list(body: &mut String, events: &[GraphEvent]) {
    let events = events.iter().filter_map(|event| std::str::from_utf8(&event.json).ok());
    array(body, events.map(str::to_owned));
}

/// Appends IDs of events as an array.
pub(super) fn ids(body: &mut String, ids: &[String]) {
    array(body, ids.iter().map(|id| serde_json::Value::from(id.as_str()).to_string()));
}

fn array(body: &mut String, items: impl Iterator<Item = String>) {
    body.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&item);
    }
    body.push(']');
}

/// An answer of JSON text.
pub(super) fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
