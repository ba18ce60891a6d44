//! [Content repository](https://spec.matrix.org/v1.19/client-server-api/#content-repository)

pub(crate) mod asynchronous;
pub(crate) mod picture;
pub(crate) mod serving;
pub(crate) mod thumbnails;

use serde_json::json;

use crate::{
    actor::User,
    server::Server,
    wire::{Json as _, Request},
};

tests![
    what_is_uploaded_is_downloaded,
    media_without_bytes_is_media,
    the_same_bytes_are_two_media,
    an_upload_needs_a_token,
    a_download_needs_a_token,
    an_upload_that_is_too_large_is_refused,
    unknown_media_is_not_found,
    malformed_names_are_refused,
    names_are_kept,
    a_name_in_the_path_counts,
    the_limit_is_told,
    old_paths_serve_what_was_public,
    previews_need_a_token,
    megabytes_come_as_they_went,
];

impl User {
    /// `POST /_matrix/media/v3/upload`
    pub(crate) fn uploads_media(&self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
        self.request(reqwest::Method::POST, "/_matrix/media/v3/upload")
            .header("content-type", content_type)
            .bytes(bytes)
    }

    /// Uploads; returns server name and media ID as a part of a path.
    pub(crate) async fn stores(&self, content_type: &str, bytes: impl Into<Vec<u8>>) -> String {
        let answer = self.uploads_media(content_type, bytes).await.ok();
        of_uri(&answer.text("/content_uri"))
    }

    /// `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}`
    pub(crate) fn downloads(&self, media: &str) -> Request {
        self.get(format!("/_matrix/client/v1/media/download/{media}"))
    }
}

/// Server name and media ID of a URI, as a part of a path.
pub(crate) fn of_uri(uri: &str) -> String {
    uri.strip_prefix("mxc://").unwrap_or_else(|| panic!("wanted mxc://, found {uri}")).to_owned()
}

async fn what_is_uploaded_is_downloaded(server: Server) {
    let (alice, bob) = server.pair().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let media = alice.stores("application/x-test", bytes.clone()).await;
    assert!(media.starts_with(&format!("{}/", server.name())), "{media}");
    for user in [&alice, &bob] {
        let answer = user.downloads(&media).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.bytes == bytes, "the bytes differ");
        assert_eq!(answer.header("content-type"), Some("application/x-test"));
        assert_eq!(answer.header("content-length"), Some("100000"));
    }
}

async fn media_without_bytes_is_media(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", Vec::new()).await;
    let answer = alice.downloads(&media).await;
    assert_eq!((answer.status, answer.bytes.len()), (200, 0), "{answer}");
}

async fn the_same_bytes_are_two_media(server: Server) {
    let alice = server.user("alice").await;
    let (one, other) = (alice.stores("text/plain", "same").await, alice.stores("text/html", "same").await);
    assert_ne!(one, other);
    assert_eq!(alice.downloads(&one).await.header("content-type"), Some("text/plain"));
    assert_eq!(alice.downloads(&other).await.header("content-type"), Some("text/html"));
}

async fn an_upload_needs_a_token(server: Server) {
    let request = server.anybody().request(reqwest::Method::POST, "/_matrix/media/v3/upload").bytes("a");
    request.await.refused(401, "M_MISSING_TOKEN");
    server
        .anybody()
        .request(reqwest::Method::POST, "/_matrix/media/v1/create")
        .await
        .refused(401, "M_MISSING_TOKEN");
}

async fn a_download_needs_a_token(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "a").await;
    for path in ["download", "thumbnail"] {
        let request = server.anybody().get(format!("/_matrix/client/v1/media/{path}/{media}"));
        request.query("width", 32).query("height", 32).await.refused(401, "M_MISSING_TOKEN");
    }
    server.anybody().get("/_matrix/client/v1/media/config").await.refused(401, "M_MISSING_TOKEN");
}

async fn an_upload_that_is_too_large_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let config = alice.get("/_matrix/client/v1/media/config").await.ok();
    let max = usize::try_from(config["m.upload.size"].as_u64().expect("there is a limit")).expect("it fits");
    assert!(max < 1 << 28, "{max}");
    alice.uploads_media("text/plain", vec![b'a'; max + 1]).await.refused(413, "M_TOO_LARGE");
    alice.uploads_media("text/plain", "small").await.ok();
}

async fn unknown_media_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let media = format!("{}/{}", server.name(), "x".repeat(24));
    alice.downloads(&media).await.refused(404, "M_NOT_FOUND");
    alice.downloads(&format!("{media}/a.png")).await.refused(404, "M_NOT_FOUND");
    let request = alice.get(format!("/_matrix/client/v1/media/thumbnail/{media}"));
    request.query("width", 32).query("height", 32).await.refused(404, "M_NOT_FOUND");
}

async fn malformed_names_are_refused(server: Server) {
    let alice = server.user("alice").await;
    for media_id in ["..%2F..%2Fetc%2Fpasswd", "a%2Fb", "%00", "a.b", "%E2%98%83", "a%20b"] {
        let answer = alice.downloads(&format!("{}/{media_id}", server.name())).attempt().await;
        assert!(matches!(answer.status, 400 | 404), "{media_id}: {answer}");
    }
    for name in ["..", "a%2Fb", "%00", "a_b!", "a%20b"] {
        let answer = alice.downloads(&format!("{name}/{}", "x".repeat(24))).attempt().await;
        assert!(matches!(answer.status, 400 | 404), "{name}: {answer}");
    }
}

async fn names_are_kept(server: Server) {
    let alice = server.user("alice").await;
    for (name, expected) in [
        ("plain.txt", "inline; filename=plain.txt"),
        ("a b.txt", "inline; filename=\"a b.txt\""),
        ("\u{2615}.txt", "inline; filename*=utf-8''%e2%98%95.txt"),
    ] {
        let uploaded = alice.uploads_media("text/plain", "a").query("filename", name).await.ok();
        let answer = alice.downloads(&of_uri(&uploaded.text("/content_uri"))).await;
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert_eq!(disposition.to_lowercase(), expected, "{name}");
    }
}

async fn a_name_in_the_path_counts(server: Server) {
    let alice = server.user("alice").await;
    let uploaded = alice.uploads_media("text/plain", "a").query("filename", "one.txt").await.ok();
    let media = of_uri(&uploaded.text("/content_uri"));
    let answer = alice.downloads(&format!("{media}/two.txt")).await;
    assert_eq!(answer.header("content-disposition"), Some("inline; filename=two.txt"), "{answer}");
    assert_eq!(answer.bytes, b"a");
}

async fn the_limit_is_told(server: Server) {
    let alice = server.user("alice").await;
    for path in ["/_matrix/client/v1/media/config", "/_matrix/media/v3/config", "/_matrix/media/r0/config"] {
        let config = alice.get(path).await.ok();
        assert!(config["m.upload.size"].as_u64().is_some_and(|size| size > 0), "{config}");
    }
}

async fn old_paths_serve_what_was_public(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "public").await;
    for version in ["r0", "v1", "v3"] {
        let answer = server.anybody().get(format!("/_matrix/media/{version}/download/{media}")).await;
        assert_eq!((answer.status, &answer.bytes[..]), (200, &b"public"[..]), "{answer}");
        let named = server.anybody().get(format!("/_matrix/media/{version}/download/{media}/a.txt")).await;
        assert_eq!(named.header("content-disposition"), Some("inline; filename=a.txt"), "{named}");
    }
    let elsewhere =
        server.anybody().get(format!("/_matrix/media/v3/download/127.0.0.1:9/{}", "x".repeat(24)));
    elsewhere.query("allow_remote", false).await.refused(404, "M_NOT_FOUND");
}

async fn previews_need_a_token(server: Server) {
    for path in ["/_matrix/client/v1/media/preview_url", "/_matrix/media/v3/preview_url"] {
        let request = server.anybody().get(path).query("url", "https://example.org/");
        request.await.refused(401, "M_MISSING_TOKEN");
    }
}

async fn megabytes_come_as_they_went(server: Server) {
    let alice = server.user("alice").await;
    let config = alice.get("/_matrix/client/v1/media/config").await.ok();
    let size =
        usize::try_from(config["m.upload.size"].as_u64().expect("a limit")).expect("it fits").min(20 << 20);
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let media = alice.stores("application/octet-stream", bytes.clone()).await;
    let answer = alice.downloads(&media).await;
    assert!(answer.status == 200 && answer.bytes == bytes, "{} bytes came back", answer.bytes.len());
    assert_eq!(json!(answer.header("content-length")), json!(size.to_string()));
}
