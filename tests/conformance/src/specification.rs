//! The endpoints that the specification has.

use std::sync::LazyLock;

use reqwest::Method;
use serde_json::json;

use crate::{server::Server, wire::Answer};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Which API it is of: `client-server`, …
    pub(crate) api: &'static str,
    /// Method.
    pub(crate) method: &'static str,
    /// Path, with names in braces.
    pub(crate) path: &'static str,
    /// The specification's name for it.
    pub(crate) operation: &'static str,
    /// Whether clients are told to use something else.
    pub(crate) deprecated: bool,
}

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let lines = include_str!("../endpoints.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(Endpoint::parse).collect()
});

impl Endpoint {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let (api, method, path) = (fields.next()?, fields.next()?, fields.next()?);
        let operation = fields.next()?;
        Some(Self { api, method, path, operation, deprecated: fields.next() == Some("deprecated") })
    }

    /// How well a path fits: the number of parts that are the same; none if it does not fit.
    fn fit(&self, path: &str) -> Option<usize> {
        let mut wanted = self.path.split('/');
        let mut found = path.split('/');
        let mut same = 0;
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return Some(same),
                (Some(wanted), Some(_)) if wanted.starts_with('{') => {}
                (Some(wanted), Some(found)) if wanted == found => same += 1,
                // An empty state key may be left out, with the slash before it.
                (Some("{stateKey}"), None) => return Some(same),
                _ => return None,
            }
        }
    }
}

/// Asks for an endpoint without a token, with names of things that are not there. Nothing comes of it: what has a route says
/// that it wants a token, or what it misses.
pub(crate) async fn ask(server: &Server, endpoint: &Endpoint) -> Answer {
    let parts = endpoint.path.trim().split('/').map(|part| match part {
        "{userId}" => path!("{}", server.nobody()),
        "{roomId}" | "{roomIdOrAlias}" => path!("{}", server.nowhere()),
        "{roomAlias}" => path!("{}", server.alias()),
        "{eventId}" => path!("{}", format!("${}", "A".repeat(43))),
        // Another one would be asked for it.
        "{serverName}" => path!("{}", server.name()),
        "{receiptType}" => "m.read".to_owned(),
        "{kind}" => "override".to_owned(),
        part if part.starts_with('{') => "x".to_owned(),
        part => part.to_owned(),
    });
    let path = parts.collect::<Vec<_>>().join("/");
    let method: Method = endpoint.method.parse().expect("an endpoint has a method");
    let request = server.anybody().request(method.clone(), path);
    if method == Method::GET { request } else { request.json(json!({})) }.await
}

/// Whether an answer comes of a route: what is not there is a page that is not Matrix's, or says so.
pub(crate) fn is_of_a_route(answer: &Answer) -> bool {
    let is_missing = [404, 405].contains(&answer.status) && answer.errcode().is_empty();
    answer.errcode() != "M_UNRECOGNIZED" && !is_missing
}

/// All endpoints, in the order of the specification.
pub(crate) fn endpoints() -> &'static [Endpoint] {
    &ENDPOINTS
}

/// What clients have that the specification does not tell of yet.
static PROPOSED: [Endpoint; 2] = [
    Endpoint {
        api: "client-server",
        method: "POST",
        path: "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync",
        operation: "slidingSync",
        deprecated: false,
    },
    Endpoint {
        api: "client-server",
        method: "POST",
        path: "/_matrix/client/v4/sync",
        operation: "slidingSyncMerged",
        deprecated: false,
    },
];

/// Endpoints that clients use and the specification does not have yet.
pub(crate) fn proposed() -> &'static [Endpoint] {
    &PROPOSED
}

/// The endpoint that a request is for. The path is as it was sent, with or without a query.
pub(crate) fn find(method: &str, path: &str) -> Option<&'static Endpoint> {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.replacen("/_matrix/client/r0/", "/_matrix/client/v3/", 1);
    let fits = endpoints().iter().chain(proposed()).filter(|endpoint| endpoint.method == method);
    let fits = fits.filter_map(|endpoint| Some((endpoint.fit(&path)?, endpoint)));
    // The first of those that fit best: some paths are listed twice.
    fits.rev().max_by_key(|(same, _)| *same).map(|(_, endpoint)| endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(method: &str, path: &str) -> Option<&'static str> {
        find(method, path).map(|endpoint| endpoint.operation)
    }

    #[test]
    fn requests_find_their_endpoint() {
        let rooms = "/_matrix/client/v3/rooms/%21a%3Ab";
        assert_eq!(operation("GET", &format!("{rooms}/state")), Some("getRoomState"));
        for path in ["/state/m.room.name", "/state/m.room.name/", "/state/m.room.name/key?format=event"] {
            assert_eq!(operation("GET", &format!("{rooms}{path}")), Some("getRoomStateWithKey"));
        }
        assert_eq!(operation("POST", &format!("{rooms}/invite")), Some("inviteUser"));
        assert_eq!(operation("GET", "/_matrix/client/r0/sync?since=x"), Some("sync"));
        assert_eq!(operation("GET", "/_matrix/client/v3/pushrules/global/"), Some("getPushRulesGlobal"));
        assert_eq!(operation("PUT", "/_matrix/client/v3/sync"), None);
    }

    #[test]
    fn there_are_212_endpoints() {
        assert_eq!(endpoints().len(), 212);
        assert_eq!(endpoints().iter().filter(|endpoint| endpoint.deprecated).count(), 9);
    }
}
