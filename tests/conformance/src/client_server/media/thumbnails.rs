//! [Thumbnails](https://spec.matrix.org/v1.19/client-server-api/#thumbnails)

use super::picture::{dimensions, head, png};
use crate::{
    actor::User,
    server::Server,
    wire::{Answer, Request},
};

tests![
    a_picture_is_scaled,
    a_picture_is_cropped,
    a_small_picture_does_not_grow,
    what_is_no_picture_has_no_thumbnail,
    sizes_must_be_sizes,
    a_picture_is_what_its_bytes_say,
    bombs_and_ruins_have_no_thumbnails,
    the_same_is_made_of_the_same,
    old_paths_serve_thumbnails,
];

impl User {
    pub(crate) fn asks_for_thumbnail(&self, media: &str, width: u32, height: u32, method: &str) -> Request {
        let request = self.get(format!("/_matrix/client/v1/media/thumbnail/{media}"));
        request.query("width", width).query("height", height).query("method", method)
    }
}

#[track_caller]
fn size_of(answer: &Answer) -> (u32, u32) {
    assert_eq!(answer.status, 200, "{answer}");
    assert!(answer.header("content-type").unwrap_or_default().starts_with("image/"), "{answer}");
    assert!(answer.header("content-disposition").unwrap_or_default().starts_with("inline"), "{answer}");
    dimensions(&answer.bytes).unwrap_or_else(|| panic!("wanted a picture, but {answer}"))
}

async fn a_picture_is_scaled(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("image/png", png(1000, 500, 90)).await;
    for (width, height) in [(320, 240), (640, 480), (800, 600)] {
        let (wide, high) = size_of(&alice.asks_for_thumbnail(&media, width, height, "scale").await);
        assert!(wide <= width && high <= height, "{wide}x{high} for {width}x{height}");
        assert!(wide.abs_diff(high * 2) <= 2, "{wide}x{high} has other proportions");
        assert!(wide == width || high == height, "{wide}x{high} is smaller than {width}x{height}");
    }
}

async fn a_picture_is_cropped(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("image/png", png(1000, 500, 90)).await;
    for (width, height) in [(32, 32), (96, 96)] {
        let answer = alice.asks_for_thumbnail(&media, width, height, "crop").await;
        assert_eq!(size_of(&answer), (width, height));
    }
}

async fn a_small_picture_does_not_grow(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("image/png", png(40, 20, 90)).await;
    for method in ["scale", "crop"] {
        let (wide, high) = size_of(&alice.asks_for_thumbnail(&media, 640, 480, method).await);
        assert!(wide <= 40 && high <= 20, "{wide}x{high}");
    }
}

async fn what_is_no_picture_has_no_thumbnail(server: Server) {
    let alice = server.user("alice").await;
    for (content_type, bytes) in [
        ("text/plain", &b"no picture"[..]),
        ("image/png", b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>"),
        ("image/svg+xml", b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>"),
        ("image/jpeg", b"<html><script>1</script></html>"),
        ("image/png", b""),
    ] {
        let media = alice.stores(content_type, bytes).await;
        let answer = alice.asks_for_thumbnail(&media, 32, 32, "crop").await;
        answer.refused(400, "M_UNKNOWN");
    }
}

async fn sizes_must_be_sizes(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("image/png", png(100, 100, 90)).await;
    for (width, height) in [("0", "32"), ("-1", "32"), ("x", "32"), ("32", "1.5")] {
        let request = alice.get(format!("/_matrix/client/v1/media/thumbnail/{media}"));
        let answer = request.query("width", width).query("height", height).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let missing = alice.get(format!("/_matrix/client/v1/media/thumbnail/{media}")).query("width", 32).await;
    missing.refused(400, "M_MISSING_PARAM");
    let method = alice.asks_for_thumbnail(&media, 32, 32, "stretch").await;
    assert_eq!(method.status, 400, "{method}");
}

async fn a_picture_is_what_its_bytes_say(server: Server) {
    let alice = server.user("alice").await;
    for content_type in ["image/jpeg", "application/octet-stream", "text/html"] {
        let media = alice.stores(content_type, png(200, 200, 90)).await;
        let answer = alice.asks_for_thumbnail(&media, 32, 32, "crop").await;
        assert_eq!(size_of(&answer), (32, 32), "{content_type}");
    }
}

async fn bombs_and_ruins_have_no_thumbnails(server: Server) {
    let alice = server.user("alice").await;
    let whole = png(300, 300, 90);
    let mut long = head(60_000, 60_000);
    long.extend([0; 1000]);
    let polyglot = [b"GIF89a".to_vec(), whole.clone()].concat();
    for bytes in
        [head(60_000, 60_000), long, whole[..60].to_vec(), whole[..whole.len() / 2].to_vec(), polyglot]
    {
        let media = alice.stores("image/png", bytes).await;
        let answer = alice.asks_for_thumbnail(&media, 96, 96, "crop").await;
        assert_eq!(answer.status, 400, "{answer}");
        assert_eq!(alice.downloads(&media).await.status, 200);
    }
}

async fn the_same_is_made_of_the_same(server: Server) {
    let (alice, bob) = server.pair().await;
    let (one, other) = futures::join!(
        alice.stores("image/png", png(500, 400, 7)),
        bob.stores("image/png", png(500, 400, 7))
    );
    let (one, again, other) = futures::join!(
        async { alice.asks_for_thumbnail(&one, 96, 96, "crop").await },
        async { bob.asks_for_thumbnail(&one, 96, 96, "crop").await },
        async { alice.asks_for_thumbnail(&other, 96, 96, "crop").await }
    );
    assert_eq!(size_of(&one), (96, 96));
    assert!(one.bytes == again.bytes && one.bytes == other.bytes, "the thumbnails differ");
}

async fn old_paths_serve_thumbnails(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("image/png", png(200, 200, 90)).await;
    let known = alice.asks_for_thumbnail(&media, 32, 32, "crop").await;
    for version in ["r0", "v3"] {
        let request = server.anybody().get(format!("/_matrix/media/{version}/thumbnail/{media}"));
        let answer = request.query("width", 32).query("height", 32).query("method", "crop").await;
        assert_eq!(size_of(&answer), (32, 32));
        assert!(answer.bytes == known.bytes, "the thumbnails differ");
    }
}
