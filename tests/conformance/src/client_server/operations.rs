//! [Every operation](https://spec.matrix.org/v1.19/client-server-api/) has a route, or stands on a list with the reason.

use std::collections::BTreeMap;

use crate::{
    server::Server,
    specification::{ask, endpoints, is_of_a_route},
};

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
    let mut wrong = Vec::new();
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.api == "client-server") {
        let answer = ask(&server, endpoint).await;
        let is_served = is_of_a_route(&answer);
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
