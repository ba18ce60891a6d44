//! Chooses the servers that are asked about a room, in order.

use ruma::{OwnedServerName, RoomId, ServerName, UserId};

/// Most servers that are asked.
pub(crate) const MAX: usize = 20;

/// Orders the servers that may be in a room: those that were named, then who invited, then who is known to be there. Only
/// if there is nobody, the server that the room ID names.
pub(crate) fn list(
    us: &ServerName,
    room_id: &RoomId,
    named: &[String],
    inviter: Option<&str>,
    others: &[String],
) -> Vec<OwnedServerName> {
    let inviter =
        inviter.and_then(|user| <&UserId>::try_from(user).ok()).map(|user| user.server_name().to_string());
    let all = named.iter().chain(&inviter).chain(others);
    let mut found = distinct(us, all.map(String::as_str));
    if found.is_empty() {
        found = distinct(us, room_id.server_name().map(ServerName::as_str));
    }
    found
}

/// Whether a server is asked after others: who names servers is told what they answer, and others stand in only where none
/// of those did.
pub(crate) fn is_asked(server: &ServerName, named: &[String], is_refused: bool) -> bool {
    !is_refused || named.is_empty() || named.iter().any(|name| name == server.as_str())
}

/// Server names, each once, without our own, as far as they are some.
pub(crate) fn distinct<'a>(
    us: &ServerName,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<OwnedServerName> {
    let mut found: Vec<OwnedServerName> = Vec::new();
    for name in names {
        let Ok(name) = ServerName::parse(name) else { continue };
        if name != us && !found.contains(&name) && found.len() < MAX {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, server_name};

    use super::*;

    #[test]
    fn servers_are_asked_in_order_and_once() {
        let us = server_name!("us.test");
        let named = ["a.test", "us.test", "a.test", "not a name", "b.test"].map(str::to_owned);
        let others = ["c.test", "b.test"].map(str::to_owned);
        let found = list(us, room_id!("!r:far.test"), &named, Some("@x:inviter.test"), &others);
        assert_eq!(found, ["a.test", "b.test", "inviter.test", "c.test"]);
        // The domain of the ID says nothing if somebody was named.
        assert_eq!(list(us, room_id!("!r:far.test"), &[], None, &[]), ["far.test"]);
        assert!(list(us, room_id!("!r:us.test"), &["us.test".to_owned()], None, &[]).is_empty());
        assert!(list(us, room_id!("!hash"), &[], None, &[]).is_empty());
        let many: Vec<String> = (0..100).map(|number| format!("s{number}.test")).collect();
        assert_eq!(list(us, room_id!("!r:far.test"), &many, None, &[]).len(), MAX);
    }
}
