//! [Every operation](https://spec.matrix.org/v1.19/client-server-api/) has a route, or stands on a list with the reason.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::{server::Server, specification::endpoints};

tests![every_operation_has_a_route_or_stands_on_the_list, users_learn_what_is_known_of_their_devices];

/// Operations without a route, with the reason.
const NOT_SERVED: &str = include_str!("../../not-served.tsv");

async fn every_operation_has_a_route_or_stands_on_the_list(server: Server) {
    let lines = NOT_SERVED.lines().filter(|line| !line.starts_with('#'));
    let mut not_served: BTreeMap<(&str, &str), &str> = lines
        .map(|line| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().expect("a line has a method, a path and a reason");
            ((field(), field()), field())
        })
        .collect();
    let names = [
        ("{userId}", server.nobody()),
        ("{roomId}", server.nowhere().0),
        ("{roomIdOrAlias}", server.nowhere().0),
        ("{roomAlias}", server.alias()),
        ("{eventId}", format!("${}", "A".repeat(43))),
        ("{receiptType}", "m.read".to_owned()),
        ("{kind}", "override".to_owned()),
    ];
    let anybody = server.anybody();
    let mut wrong = Vec::new();
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.api == "client-server") {
        let mut path = endpoint.path.trim().to_owned();
        for (name, value) in &names {
            path = path.replace(name, &path!("{}", value));
        }
        while let Some((start, rest)) = path.split_once('{') {
            let rest = rest.split_once('}').map_or("", |(_, rest)| rest);
            path = format!("{start}x{rest}");
        }
        let method: Method = endpoint.method.parse().expect("an endpoint has a method");
        let request = anybody.request(method.clone(), path);
        // Whoever shows no token changes nothing: what has a route says so, or that it misses something.
        let answer = if method == Method::GET { request } else { request.json(json!({})) }.await;
        let is_served =
            ![404, 405].contains(&answer.status) || !["", "M_UNRECOGNIZED"].contains(&answer.errcode());
        match (is_served, not_served.remove(&(endpoint.method, endpoint.path.trim()))) {
            (true, Some(_)) => wrong.push(format!("{} {}: is served", endpoint.method, endpoint.path)),
            (false, None) => wrong.push(format!("{} {}: {answer}", endpoint.method, endpoint.path)),
            _ => {}
        }
    }
    wrong.extend(not_served.keys().map(|(method, path)| format!("{method} {path}: no such operation")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn users_learn_what_is_known_of_their_devices(server: Server) {
    let (alice, bob) = server.pair().await;
    let path = path!("/admin/whois/{}", alice.id);
    let answer = alice.get(&path).await.ok();
    assert_eq!(answer["user_id"], alice.id, "{answer}");
    let devices = answer["devices"].as_object().expect("devices are an object");
    assert!(!devices.is_empty(), "{answer}");
    bob.get(&path).await.refused(403, "M_FORBIDDEN");
    server.anybody().get(&path).await.refused(401, "M_MISSING_TOKEN");
}
