use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::well_known::Outcome;

/// DNS and well-known answers of a test; everything else is not there.
#[derive(Default)]
struct World {
    addresses: BTreeMap<&'static str, Vec<&'static str>>,
    services: BTreeMap<&'static str, Vec<(u16, u16, u16, &'static str)>>,
    broken: Vec<&'static str>,
    slow: Vec<&'static str>,
    delegations: BTreeMap<&'static str, &'static str>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Resolve for World {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        self.asked.lock().push(host.to_owned());
        if self.slow.contains(&host) {
            std::future::pending::<()>().await;
        }
        let found = self.addresses.get(host).ok_or(ResolveError::NotFound)?;
        Ok(found.iter().map(|address| address.parse().unwrap()).collect())
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        self.asked.lock().push(name.to_owned());
        if self.broken.contains(&name) {
            return Err(ResolveError::Failed("SERVFAIL".to_owned()));
        }
        let found = self.services.get(name).ok_or(ResolveError::NotFound)?;
        let service = |(priority, weight, port, target): &(u16, u16, u16, &str)| Service {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).to_owned(),
        };
        Ok(found.iter().map(service).collect())
    }
}

struct Delegations(BTreeMap<&'static str, &'static str>);

#[async_trait]
impl AskWellKnown for Delegations {
    async fn ask(&self, host: &str) -> Outcome {
        let name = self.0.get(host).and_then(|name| PeerName::parse(name).ok());
        name.map_or(Outcome::Absent, |name| Outcome::Delegated(name, None))
    }
}

fn world() -> World {
    World {
        addresses: [
            ("plain.org", vec!["192.0.2.1"]),
            ("b.org", vec!["192.0.2.2", "2001:db8::2"]),
            ("target1.org", vec!["192.0.2.11"]),
            ("target2.org", vec!["192.0.2.12"]),
        ]
        .into(),
        services: [
            ("_matrix-fed._tcp.new.org", vec![(10, 0, 1, "target2.org"), (5, 0, 2, "target1.org")]),
            ("_matrix._tcp.new.org", vec![(1, 0, 9, "target2.org")]),
            ("_matrix._tcp.old.org", vec![(1, 0, 3, "target1.org")]),
            ("_matrix-fed._tcp.refused.org", vec![(0, 0, 0, "")]),
            ("_matrix-fed._tcp.gone.org", vec![(0, 0, 1, "nowhere.org")]),
            ("_matrix-fed._tcp.half.org", vec![(0, 0, 1, "nowhere.org"), (1, 0, 7, "target1.org")]),
            ("_matrix-fed._tcp.literal.org", vec![(0, 0, 7, "192.0.2.9")]),
        ]
        .into(),
        broken: vec!["_matrix-fed._tcp.broken.org", "_matrix._tcp.broken.org"],
        slow: vec!["slow.org"],
        delegations: [
            ("todirect.org", "192.0.2.7"),
            ("toport.org", "b.org:443"),
            ("tosrv.org", "new.org"),
            ("todefault.org", "b.org"),
            ("todelegated.org", "tosrv.org"),
        ]
        .into(),
        asked: Mutex::default(),
    }
}

fn discovery(mut world: World) -> (Discovery, Arc<World>) {
    let ask = Box::new(Delegations(std::mem::take(&mut world.delegations)));
    let world = Arc::new(world);
    (Discovery::new(Arc::clone(&world) as _, ask), world)
}

async fn find(discovery: &Discovery, name: &str) -> Result<(String, String, Arc<Route>), DiscoverError> {
    let peer = discovery.delegate(name.try_into().unwrap()).await?;
    let route = discovery.resolve(&peer).await?;
    Ok((peer.to_string(), peer.tls_name(), route))
}

/// The six steps of the specification. Each row: name, `Host`, name of the certificate, addresses.
#[tokio::test]
async fn names_lead_where_the_specification_says() {
    let (discovery, _) = discovery(world());
    for (name, host, certificate, addresses) in [
        // 1: literals.
        ("192.0.2.5", "192.0.2.5", "192.0.2.5", vec!["192.0.2.5:8448"]),
        ("192.0.2.5:99", "192.0.2.5:99", "192.0.2.5", vec!["192.0.2.5:99"]),
        ("[2001:db8::5]", "[2001:db8::5]", "2001:db8::5", vec!["[2001:db8::5]:8448"]),
        ("[2001:DB8::5]:1", "[2001:db8::5]:1", "2001:db8::5", vec!["[2001:db8::5]:1"]),
        // 2: a port; neither delegation nor SRV records count.
        ("b.org:80", "b.org:80", "b.org", vec!["192.0.2.2:80", "[2001:db8::2]:80"]),
        // 3: delegated.
        ("todirect.org", "192.0.2.7", "192.0.2.7", vec!["192.0.2.7:8448"]),
        ("toport.org", "b.org:443", "b.org", vec!["192.0.2.2:443", "[2001:db8::2]:443"]),
        ("TOSRV.org", "new.org", "new.org", vec!["192.0.2.11:2", "192.0.2.12:1"]),
        ("todefault.org", "b.org", "b.org", vec!["192.0.2.2:8448", "[2001:db8::2]:8448"]),
        // 4 and 5: SRV records, the old ones only where there are no new ones.
        ("new.org", "new.org", "new.org", vec!["192.0.2.11:2", "192.0.2.12:1"]),
        ("old.org", "old.org", "old.org", vec!["192.0.2.11:3"]),
        ("half.org", "half.org", "half.org", vec!["192.0.2.11:7"]),
        ("literal.org", "literal.org", "literal.org", vec!["192.0.2.9:7"]),
        // 6.
        ("plain.org", "plain.org", "plain.org", vec!["192.0.2.1:8448"]),
    ] {
        let (found_host, found_certificate, route) = find(&discovery, name).await.unwrap();
        let found: Vec<String> = route.addresses.iter().map(ToString::to_string).collect();
        assert_eq!((found_host.as_str(), found_certificate.as_str()), (host, certificate), "{name}");
        assert_eq!(found, addresses, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_lead_nowhere_say_why() {
    let (discovery, _) = discovery(world());
    let no = |host: &str, source| DiscoverError::Resolve { host: host.to_owned(), source };
    for (name, error) in [
        ("nothing.org", no("nothing.org", ResolveError::NotFound)),
        ("nothing.org:1", no("nothing.org", ResolveError::NotFound)),
        ("refused.org", DiscoverError::NotOffered),
        ("gone.org", no("nowhere.org", ResolveError::NotFound)),
        ("broken.org", no("broken.org", ResolveError::NotFound)),
        ("slow.org", DiscoverError::TimedOut),
        // A delegation is not followed by another one.
        ("todelegated.org", no("tosrv.org", ResolveError::NotFound)),
    ] {
        assert_eq!(find(&discovery, name).await.unwrap_err(), error, "{name}");
    }
}

#[tokio::test]
async fn what_was_found_and_what_was_not_is_remembered() {
    let (discovery, world) = discovery(world());
    for name in ["plain.org", "nothing.org"] {
        let all = futures::future::join_all((0..20).map(|_| find(&discovery, name))).await;
        assert!(all.iter().all(|found| found.is_ok() == (name == "plain.org")));
        assert_eq!(world.asked.lock().drain(..).filter(|asked| asked == name).count(), 1, "{name}");
    }
    discovery.forget("plain.org".try_into().unwrap()).await;
    find(&discovery, "plain.org").await.unwrap();
    assert_eq!(world.asked.lock().iter().filter(|asked| *asked == "plain.org").count(), 1);
}

#[test]
fn weights_are_shares_within_a_priority() {
    let service = |priority, weight, port| Service { priority, weight, port, target: "t".to_owned() };
    let mut rng = StdRng::seed_from_u64(1);
    let mut first = [0; 4];
    for _ in 0..4_000 {
        let services = vec![service(2, 9, 3), service(1, 10, 1), service(1, 30, 2), service(1, 0, 0)];
        let ordered = order(services, &mut rng);
        assert_eq!(ordered.len(), 4);
        assert_eq!(ordered[3].port, 3);
        first[usize::from(ordered[0].port)] += 1;
    }
    assert!(first[2] > 2 * first[1] && first[1] > first[0] && first[0] > 0, "{first:?}");
    assert_eq!(order(Vec::new(), &mut rng), []);
}
