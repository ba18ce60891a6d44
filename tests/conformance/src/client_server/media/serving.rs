//! [Serving inline content](https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content), and other headers.

use crate::server::Server;

tests![
    what_may_be_shown_is_inline,
    everything_else_is_an_attachment,
    nothing_that_is_shown_may_run,
    other_origins_may_show_media,
    ranges_are_served,
    ranges_beyond_the_end_are_refused,
    heads_are_told,
    the_same_bytes_are_not_sent_twice,
];

const INLINE: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

const OTHERS: [&str; 20] = [
    "text/html",
    "text/xml",
    "text/javascript",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/pdf",
    "application/octet-stream",
    "application/zip",
    "application/wasm",
    "image/svg+xml",
    "image/bmp",
    "image/tiff",
    "image/heic",
    "image/x-icon",
    "video/x-msvideo",
    "video/mpeg",
    "audio/midi",
    "multipart/mixed",
    "message/rfc822",
];

async fn what_may_be_shown_is_inline(server: Server) {
    let alice = server.user("alice").await;
    for content_type in INLINE {
        let answer = alice.downloads(&alice.stores(content_type, "a").await).await;
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(disposition.split(';').next() == Some("inline"), "{content_type}: {disposition}");
        assert_eq!(answer.header("content-type").unwrap_or_default().split(';').next(), Some(content_type));
    }
}

async fn everything_else_is_an_attachment(server: Server) {
    let alice = server.user("alice").await;
    for content_type in OTHERS {
        let answer = alice.downloads(&alice.stores(content_type, "<svg/>").await).await;
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(disposition.split(';').next() == Some("attachment"), "{content_type}: {disposition}");
    }
}

async fn nothing_that_is_shown_may_run(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.downloads(&alice.stores("text/plain", "a").await).await;
    let policy = answer.header("content-security-policy").unwrap_or_default();
    for directive in ["sandbox", "default-src 'none'", "script-src 'none'"] {
        assert!(policy.split(';').any(|part| part.trim() == directive), "wanted {directive} in {policy}");
    }
}

async fn other_origins_may_show_media(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.downloads(&alice.stores("text/plain", "a").await).await;
    assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
}

async fn ranges_are_served(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "0123456789").await;
    for (range, expected, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
    ] {
        let answer = alice.downloads(&media).header("range", range).await;
        assert_eq!((answer.status, &answer.bytes[..]), (206, expected.as_bytes()), "{range}: {answer}");
        assert_eq!(answer.header("content-range"), Some(content_range), "{range}");
        assert_eq!(answer.header("content-length"), Some(expected.len().to_string().as_str()), "{range}");
    }
    for whole in ["bytes=4-2", "lines=0-1", "bytes=x"] {
        let answer = alice.downloads(&media).header("range", whole).await;
        assert_eq!((answer.status, &answer.bytes[..]), (200, &b"0123456789"[..]), "{whole}: {answer}");
    }
}

async fn ranges_beyond_the_end_are_refused(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "0123456789").await;
    for range in ["bytes=10-", "bytes=100-200", "bytes=-0"] {
        let answer = alice.downloads(&media).header("range", range).await;
        assert_eq!(answer.status, 416, "{range}: {answer}");
        assert_eq!(answer.header("content-range"), Some("bytes */10"), "{range}");
    }
}

async fn heads_are_told(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "0123456789").await;
    let path = format!("/_matrix/client/v1/media/download/{media}");
    let answer = alice.request(reqwest::Method::HEAD, path).await;
    assert_eq!((answer.status, answer.bytes.len()), (200, 0), "{answer}");
    assert_eq!(answer.header("content-length"), Some("10"), "{answer}");
    assert_eq!(answer.header("content-type"), Some("text/plain"), "{answer}");
}

async fn the_same_bytes_are_not_sent_twice(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "0123456789").await;
    let etag = alice.downloads(&media).await.header("etag").expect("there is an entity tag").to_owned();
    let again = alice.downloads(&media).header("if-none-match", &etag).await;
    assert_eq!((again.status, again.bytes.len()), (304, 0), "{again}");
    let part = alice.downloads(&media).header("range", "bytes=1-2").header("if-range", "\"other\"").await;
    assert_eq!((part.status, part.bytes.len()), (200, 10), "{part}");
}
