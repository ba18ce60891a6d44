//! [API standards](https://spec.matrix.org/v1.19/server-server-api/#api-standards)

use reqwest::Method;

use crate::{server::Server, wire::Json as _};

tests![the_version_is_told_to_anybody, unknown_endpoints_are_unrecognized, there_is_no_cors];

async fn the_version_is_told_to_anybody(server: Server) {
    let answer = server.federation().get("/_matrix/federation/v1/version").await.ok();
    assert!(!answer.text("/server/name").is_empty(), "{answer}");
    assert!(!answer.text("/server/version").is_empty(), "{answer}");
}

async fn unknown_endpoints_are_unrecognized(server: Server) {
    let peer = server.federation();
    for path in ["/_matrix/federation/unknown", "/_matrix/federation/v1/unknown", "/_matrix/key/unknown"] {
        peer.get(path).await.refused(404, "M_UNRECOGNIZED");
    }
    for (method, path) in [
        (Method::PUT, "/_matrix/federation/v1/version"),
        (Method::PUT, "/_matrix/key/v2/query"),
        (Method::POST, "/_matrix/key/v2/server"),
    ] {
        peer.request(method, path).await.refused(405, "M_UNRECOGNIZED");
    }
}

/// Browsers are no servers.
async fn there_is_no_cors(server: Server) {
    let answer = server.federation().get("/_matrix/federation/v1/query/profile").await;
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
}
