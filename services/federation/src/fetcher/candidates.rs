//! Servers that may have what is missing.

use ruma::{OwnedServerName, ServerName};

/// Most servers that are asked in one attempt.
const MAX_CANDIDATES: usize = 3;

/// Chooses whom to ask, in order: who sent the event, who may know as well, and then those with most users in the room.
pub(super) fn choose(
    via: &[String],
    in_room: &[(OwnedServerName, u64)],
    own_name: &ServerName,
) -> Vec<OwnedServerName> {
    let mut by_size: Vec<&(OwnedServerName, u64)> = in_room.iter().collect();
    by_size.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let named = via.iter().filter_map(|server| ServerName::parse(server.as_str()).ok());
    let mut chosen: Vec<OwnedServerName> = Vec::new();
    for server in named.chain(by_size.into_iter().map(|(server, _)| server.clone())) {
        if chosen.len() >= MAX_CANDIDATES {
            break;
        }
        if server != own_name && !chosen.contains(&server) {
            chosen.push(server);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn who_sent_the_event_is_asked_first_and_never_ourselves() {
        let in_room = [("us.test", 9), ("b.test", 1), ("c.test", 5), ("d.test", 5), ("a.test", 2)]
            .map(|(server, members)| (server.try_into().unwrap(), members));
        let choose = |via: &[&str]| {
            let via: Vec<String> = via.iter().map(|server| (*server).to_owned()).collect();
            choose(&via, &in_room, server_name!("us.test"))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(choose(&[]), ["c.test", "d.test", "a.test"]);
        assert_eq!(choose(&["b.test"]), ["b.test", "c.test", "d.test"]);
        assert_eq!(choose(&["us.test", "b.test", "b.test", "not a name"]), ["b.test", "c.test", "d.test"]);
        assert_eq!(choose(&["1.test", "2.test", "3.test", "4.test"]), ["1.test", "2.test", "3.test"]);
    }
}
