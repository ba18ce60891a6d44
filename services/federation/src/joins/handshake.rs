//! The requests of handshakes: `make_…`, `send_…`, `invite`, `exchange_third_party_invite`, and the question where an
//! alias points.

use bytes::Bytes;
use http::Method;
use plexus_s2s::{Call, CallError, Class, encoded};
use ruma::{EventId, RoomId, ServerName, UserId};

use crate::Federation;

/// A template is small. Servers that did not answer lately are asked last, but they are asked: somebody waits.
const TEMPLATE: Class = Class { name: "membership", max_body: 1 << 20, ignores_health: true, ..Class::QUERY };
/// Events of a handshake, and small answers.
const SEND: Class = Class { max_body: 4 << 20, ..STATE };
/// A whole state. Who has it to tell may need long until the first byte.
const STATE: Class =
    Class { deadline: std::time::Duration::from_secs(300), ignores_health: true, ..Class::MEMBERSHIP };

/// Room versions that are served here, as `make_…` wants them.
fn versions() -> String {
    let mut query = String::new();
    for rules in plexus_events::RoomRules::served() {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str("ver=");
        query.push_str(rules.id.as_str());
    }
    query
}

async fn call(
    federation: &Federation,
    server: &ServerName,
    (method, path, body): (Method, &str, Option<Bytes>),
    class: Class,
) -> Result<Bytes, CallError> {
    let call = Call { destination: server, method, path, body, class, is_signed: true };
    Ok(federation.peers.call(call).await?.body)
}

/// Asks for a template: `join`, `knock` or `leave`.
pub(crate) async fn make(
    federation: &Federation,
    server: &ServerName,
    what: &str,
    room_id: &RoomId,
    user_id: &UserId,
) -> Result<Bytes, CallError> {
    let (room_id, user_id) = (encoded(room_id.as_str()), encoded(user_id.as_str()));
    let versions = if what == "leave" { String::new() } else { versions() };
    let path = format!("/_matrix/federation/v1/make_{what}/{room_id}/{user_id}{versions}");
    call(federation, server, (Method::GET, &path, None), TEMPLATE).await
}

/// Sends the event that was made of a template.
pub(crate) async fn send(
    federation: &Federation,
    server: &ServerName,
    what: &str,
    (room_id, event_id): (&RoomId, &EventId),
    event: Bytes,
) -> Result<Bytes, CallError> {
    let version = if what == "knock" { "v1" } else { "v2" };
    let (room_id, event_id) = (encoded(room_id.as_str()), encoded(event_id.as_str()));
    let path = format!("/_matrix/federation/{version}/send_{what}/{room_id}/{event_id}");
    let class = if what == "join" { STATE } else { SEND };
    call(federation, server, (Method::PUT, &path, Some(event)), class).await
}

/// Asks the server of a user to sign an invite.
pub(crate) async fn invite(
    federation: &Federation,
    server: &ServerName,
    (room_id, event_id): (&RoomId, &EventId),
    body: Bytes,
) -> Result<Bytes, CallError> {
    let (room_id, event_id) = (encoded(room_id.as_str()), encoded(event_id.as_str()));
    let path = format!("/_matrix/federation/v2/invite/{room_id}/{event_id}");
    let class = Class { deadline: std::time::Duration::from_secs(25), ..SEND };
    call(federation, server, (Method::PUT, &path, Some(body)), class).await
}

/// Asks the server of who sent a third-party invite for an invite of it.
pub(crate) async fn exchange_third_party_invite(
    federation: &Federation,
    server: &ServerName,
    room_id: &RoomId,
    body: Bytes,
) -> Result<Bytes, CallError> {
    let path = format!("/_matrix/federation/v1/exchange_third_party_invite/{}", encoded(room_id.as_str()));
    let class = Class { deadline: std::time::Duration::from_secs(30), ..TEMPLATE };
    call(federation, server, (Method::PUT, &path, Some(body)), class).await
}

/// Asks where an alias points.
pub(crate) async fn directory(
    federation: &Federation,
    server: &ServerName,
    alias: &str,
) -> Result<Bytes, CallError> {
    let path = format!("/_matrix/federation/v1/query/directory?room_alias={}", encoded(alias));
    call(federation, server, (Method::GET, &path, None), Class::QUERY).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_encoded_once() {
        assert_eq!(encoded("!a/b:x.test"), "%21a%2Fb%3Ax.test");
        assert_eq!(encoded("#ü:x"), "%23%C3%BC%3Ax");
        assert_eq!(versions(), "?ver=3&ver=4&ver=5&ver=6&ver=7&ver=8&ver=9&ver=10&ver=11&ver=12");
    }
}
