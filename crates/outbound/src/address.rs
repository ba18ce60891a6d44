//! Decides which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Ranges that are refused unless configured otherwise: our own machine, private networks, and what is no host of the
/// internet. IPv4 inside of IPv6 is looked at on its own and needs no entry.
pub const DEFAULT_DENIED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:10::/28",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// A range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of addresses such as 192.168.0.0/16 or fc00::/7")]
pub struct RangeError(String);

/// Decides on addresses.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    denied: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self::new(DEFAULT_DENIED, &[] as &[&str]).expect("the ranges of this file are ranges")
    }
}

impl AddressPolicy {
    /// Makes a policy. What is in an allowed range is allowed although it is in a denied one.
    pub fn new(denied: &[impl AsRef<str>], allowed: &[impl AsRef<str>]) -> Result<Self, RangeError> {
        Ok(Self { denied: ranges(denied)?, allowed: ranges(allowed)? })
    }

    /// True if the address may be connected to.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let contains =
            |ranges: &[IpNet], address: &IpAddr| ranges.iter().any(|range| range.contains(address));
        if contains(&self.allowed, &address) {
            return true;
        }
        // A gateway may pass an address on to the one inside.
        let embedded = match address {
            IpAddr::V4(_) => [None, None],
            IpAddr::V6(address) => embedded(address),
        };
        let mut forms = embedded.into_iter().flatten().map(IpAddr::V4).chain([address]);
        forms.all(|form| contains(&self.allowed, &form) || !contains(&self.denied, &form))
    }
}

fn ranges(texts: &[impl AsRef<str>]) -> Result<Vec<IpNet>, RangeError> {
    let range = |text: &str| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| RangeError(text.to_owned()))
    };
    texts.iter().map(|text| range(text.as_ref().trim())).collect()
}

/// IPv4 addresses that an IPv6 address leads to.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let last = v4(segments[6], segments[7]);
    match segments {
        // Compatible (::a.b.c.d, deprecated), translated (::ffff:0:a.b.c.d), and NAT64. Mapped ones are canonical by now.
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
            [Some(last), None]
        }
        // 6to4.
        [0x2002, high, low, ..] => [Some(v4(high, low)), None],
        // Teredo: the server, and the client behind it with its bits inverted.
        [0x2001, 0, high, low, ..] => [Some(v4(high, low)), Some(v4(!segments[6], !segments[7]))],
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => [Some(last), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_every_denied_range_are_refused_and_their_neighbors_are_not() {
        let policy = AddressPolicy::default();
        for refused in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::10.1.2.3",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:192.168.1.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001:0:7f00:1::",
            // Teredo behind 10.0.0.1, by a server of the internet.
            "2001:0:0808:0808:0:0:f5ff:fffe",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:c0a8:101::1",
            "fe80::5efe:10.0.0.1",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:127.0.0.1",
            "fc00::",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!policy.allows(refused.parse().unwrap()), "{refused}");
        }
        for allowed in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:0:0808:0808:0:0:f7f7:f7f7",
            "2002:808:808::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80b::200e",
        ] {
            assert!(policy.allows(allowed.parse().unwrap()), "{allowed}");
        }
    }

    #[test]
    fn allowed_ranges_win_and_the_denied_ones_can_be_replaced() {
        let loopback = AddressPolicy::new(DEFAULT_DENIED, &["127.0.0.0/8", "fd00::7"]).unwrap();
        for (address, allowed) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("64:ff9b::127.0.0.1", true),
            ("fd00::7", true),
            ("fd00::8", false),
            ("::1", false),
            ("10.0.0.1", false),
            // The server is allowed, the client behind it is not.
            ("2001:0:7f00:1:0:0:f5ff:fffe", false),
        ] {
            assert_eq!(loopback.allows(address.parse().unwrap()), allowed, "{address}");
        }
        let own = AddressPolicy::new(&["8.8.8.0/24"], &[] as &[&str]).unwrap();
        assert!(own.allows("10.0.0.1".parse().unwrap()));
        assert!(!own.allows("8.8.8.8".parse().unwrap()));
        assert!(!own.allows("2002:808:808::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        for text in ["", "10/8", "10.0.0.0/33", "localhost", "fc00::/129", "10.0.0.0-10.0.0.9"] {
            assert_eq!(AddressPolicy::new(&[text], &[] as &[&str]).unwrap_err(), RangeError(text.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_refused_is_refused_in_every_dress(bits: u32) {
            let policy = AddressPolicy::default();
            let v4 = Ipv4Addr::from(bits);
            let (high, low) = ((bits >> 16) as u16, bits as u16);
            let dresses = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0808, !0x0808),
                Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
                Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0x5efe, high, low),
            ];
            for dress in dresses {
                prop_assert_eq!(policy.allows(IpAddr::V6(dress)), policy.allows(IpAddr::V4(v4)), "{}", dress);
            }
        }
    }
}
