//! Server names, taken apart to connect to.
//! [Spec](https://spec.matrix.org/v1.19/appendices/#server-name)

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ruma::{OwnedServerName, ServerName};

/// Port of servers that name none.
pub const DEFAULT_PORT: u16 = 8448;
/// Most bytes of a server name: it has to fit into a user ID.
const MAX_LENGTH: usize = 230;

/// A text that names no server that could be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no server name")]
pub struct NameError(String);

/// The host of a server name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A server name in its parts. It is written in lower case: only for connecting, where case does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerName {
    /// Host.
    pub host: Host,
    /// Port, if the name has one.
    pub port: Option<u16>,
}

impl PeerName {
    /// Takes a server name apart. It is stricter than identifiers are: what DNS and URLs would read in another way is
    /// refused.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.chars().take(MAX_LENGTH).collect());
        if text.len() > MAX_LENGTH {
            return Err(wrong());
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or_else(wrong)?;
                let address: Ipv6Addr = inner.parse().map_err(|_| wrong())?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or_else(wrong)?),
                };
                (Host::Address(IpAddr::V6(address)), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                (host_of(host).ok_or_else(wrong)?, port)
            }
        };
        let port = port.map(|port| port_of(port).ok_or_else(wrong)).transpose()?;
        Ok(Self { host, port })
    }

    /// The same with another port, or none.
    #[must_use]
    pub fn with_port(&self, port: Option<u16>) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// What certificates must name: the host without the port.
    #[must_use]
    pub fn tls_name(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }
}

/// As in the header `Host`.
impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn host_of(host: &str) -> Option<Host> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    // A host whose last label is a number is an address for URLs, such as 127.1 and 0x7f.1, and no name.
    let last = host.rsplit('.').next()?;
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or(last.strip_prefix("0X"))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!numeric && host.split('.').all(is_label)).then(|| Host::Name(host.to_ascii_lowercase()))
}

fn port_of(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5;
    port.parse().ok().filter(|port| digits && *port > 0)
}

/// Parses what other servers call themselves, or others.
///
/// Names are compared byte by byte, so that nothing is changed of them.
pub fn parse_server_name(text: &str) -> Result<OwnedServerName, NameError> {
    PeerName::parse(text)?;
    let name: Result<&ServerName, _> = text.try_into();
    name.map(ToOwned::to_owned).map_err(|_| NameError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = |name: &str| Host::Name(name.to_owned());
        let address = |address: &str| Host::Address(address.parse().unwrap());
        for (text, host, port, written) in [
            ("example.org", name("example.org"), None, "example.org"),
            ("EXAMPLE.org:443", name("example.org"), Some(443), "example.org:443"),
            ("localhost", name("localhost"), None, "localhost"),
            ("xn--mnchen-3ya.de:1", name("xn--mnchen-3ya.de"), Some(1), "xn--mnchen-3ya.de:1"),
            ("1.2.3.4", address("1.2.3.4"), None, "1.2.3.4"),
            ("1.2.3.4:8448", address("1.2.3.4"), Some(8448), "1.2.3.4:8448"),
            ("[2001:DB8::1]", address("2001:db8::1"), None, "[2001:db8::1]"),
            ("[::ffff:1.2.3.4]:99", address("::ffff:1.2.3.4"), Some(99), "[::ffff:1.2.3.4]:99"),
            ("1.example", name("1.example"), None, "1.example"),
            ("0x7f.example", name("0x7f.example"), None, "0x7f.example"),
        ] {
            let parsed = PeerName::parse(text).unwrap();
            assert_eq!((&parsed.host, parsed.port), (&host, port), "{text}");
            assert_eq!(parsed.to_string(), written);
            parse_server_name(text).unwrap();
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = format!("{}.org", "a".repeat(64));
        let longer = format!("{}org", "a.".repeat(120));
        for text in [
            "",
            ":",
            ":80",
            "example.org.",
            ".example.org",
            "a..b",
            "example.org:",
            "example.org:0",
            "example.org:65536",
            "example.org:+80",
            "example.org:080808",
            "example.org:80:80",
            "example_.org",
            "exa mple.org",
            "example.org/",
            "user@example.org",
            "example.org?x",
            "example.org#x",
            "example.org\n",
            "exämple.org",
            "%65xample.org",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]:8448",
            "[1.2.3.4]",
            "[]",
            "127.1",
            "127.0.0.256",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "1.2.3.04",
            &long,
            &longer,
        ] {
            assert!(PeerName::parse(text).is_err(), "{text}");
            assert!(parse_server_name(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_neither_panics_nor_changes_what_it_wrote(text in ".{0,40}") {
            if let Ok(name) = PeerName::parse(&text) {
                prop_assert_eq!(PeerName::parse(&name.to_string()), Ok(name));
            }
        }

        #[test]
        fn names_that_look_like_names_are_read(text in r"[a-zA-Z0-9\[\].:-]{1,30}") {
            if let Ok(name) = PeerName::parse(&text) {
                prop_assert_eq!(name.to_string(), PeerName::parse(&text.to_lowercase()).unwrap().to_string());
            }
        }
    }
}
