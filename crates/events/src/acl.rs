//! Server ACLs: decides which servers may take part in a room, by `m.room.server_acl`.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms)

use std::net::{Ipv4Addr, Ipv6Addr};

use plexus_patterns::Glob;
use ruma::ServerName;
use serde_json::Value;

/// The access control list of a room, read once and asked often.
///
/// Malformed parts are read leniently, as the specification's defaults say: `allow_ip_literals` that is not a boolean
/// is `true`, a list that is not an array is empty, and entries that are not strings count for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAcl {
    allow_ip_literals: bool,
    allow: Vec<Glob>,
    deny: Vec<Glob>,
}

impl ServerAcl {
    /// Reads the content of the room's current `m.room.server_acl` event with an empty state key.
    ///
    /// A content that is no object allows nobody: it has no `allow`. Such an event has been accepted into the room,
    /// so it is the room's ACL; to ignore it would let everybody in.
    #[must_use]
    pub fn from_content(content: &str) -> Self {
        let content: Value = serde_json::from_str(content).unwrap_or(Value::Null);
        let list = |field: &str| {
            let items = content.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(Glob::ignoring_case).collect()
        };
        Self {
            allow_ip_literals: content.get("allow_ip_literals").and_then(Value::as_bool).unwrap_or(true),
            allow: list("allow"),
            deny: list("deny"),
        }
    }

    /// Whether the server may take part. A room without an ACL event allows every server: do not ask then.
    #[must_use]
    pub fn allows(&self, server: &ServerName) -> bool {
        let host = server.host();
        if !self.allow_ip_literals && is_ip_literal(host) {
            return false;
        }
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(host));
        !matches(&self.deny) && matches(&self.allow)
    }
}

/// Whether a host is an address: `1.2.3.4`, or `[1234::5]` with its brackets.
fn is_ip_literal(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || bracketed.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::ServerAcl;

    fn allows(acl: &serde_json::Value, server: &str) -> bool {
        ServerAcl::from_content(&acl.to_string()).allows(server.try_into().unwrap())
    }

    #[test]
    fn deny_comes_before_allow() {
        let acl = serde_json::json!({ "allow": ["*"], "deny": ["*.evil.org", "evil.org", "host?.org"] });
        for (server, allowed) in [
            ("example.org", true),
            ("evil.org", false),
            ("EVIL.org:8448", false),
            ("a.b.evil.org", false),
            ("notevil.org", true),
            ("host1.org", false),
            ("host.org", true),
            ("host12.org", true),
            ("1.2.3.4", true),
            ("[::1]:8448", true),
        ] {
            assert_eq!(allows(&acl, server), allowed, "{server}");
        }
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        for acl in [
            serde_json::json!({}),
            serde_json::json!({ "allow": [] }),
            serde_json::json!({ "allow": "*" }),
            serde_json::json!({ "allow": [1, null, {}] }),
            serde_json::json!({ "allow": ["other.org"] }),
            serde_json::json!([]),
        ] {
            assert!(!allows(&acl, "example.org"), "{acl}");
        }
        assert!(!ServerAcl::from_content("not JSON").allows("example.org".try_into().unwrap()));
        assert!(allows(&serde_json::json!({ "allow": ["Example.ORG", 7] }), "example.org:443"));
    }

    #[test]
    fn addresses_are_refused_where_the_room_says_so() {
        let acl = serde_json::json!({ "allow": ["*"], "allow_ip_literals": false });
        for (server, allowed) in [
            ("1.2.3.4", false),
            ("1.2.3.4:80", false),
            ("[2001:db8::1]", false),
            ("[2001:db8::1]:80", false),
            ("1.2.3.4.example.org", true),
            ("example.org", true),
        ] {
            assert_eq!(allows(&acl, server), allowed, "{server}");
        }
        let malformed = serde_json::json!({ "allow": ["*"], "allow_ip_literals": "false" });
        assert!(allows(&malformed, "1.2.3.4"));
    }
}
