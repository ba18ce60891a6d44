//! [Content repository](https://spec.matrix.org/v1.19/server-server-api/#content-repository): ours for other servers, and
//! theirs for our users.

use serde_json::json;

use super::peer::{Peer, Raw, Told};
use crate::{
    client_server::media::picture::{dimensions, png},
    server::Server,
    wire::Answer,
};

tests![
    our_media_is_told_to_other_servers,
    our_thumbnails_are_told_to_other_servers,
    requests_for_media_are_signed,
    unknown_media_is_not_told,
    media_of_other_servers_is_fetched_and_kept,
    media_of_other_servers_is_thumbnailed,
    older_servers_are_asked_at_the_old_path,
    servers_whose_answer_is_not_of_the_specification_are_asked_at_the_old_path,
    media_that_another_server_lacks_is_not_found,
    answers_that_are_cut_or_malformed_are_no_media,
    servers_that_are_away_are_told_as_such,
];

const DOWNLOAD: &str = "GET /_matrix/federation/v1/media/download/";

async fn asks(server: &Server, peer: &Peer, uri: &str) -> Answer {
    let header = peer.signs("GET", uri, server.name(), None);
    server.federation().get(uri).header("authorization", &header).attempt().await
}

/// The headers and the bytes of the parts of an answer.
#[track_caller]
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    assert_eq!(answer.status, 200, "{answer}");
    let content_type = answer.header("content-type").unwrap_or_default();
    let boundary = content_type.strip_prefix("multipart/mixed").and_then(|rest| rest.split_once("boundary="));
    let (_, boundary) = boundary.unwrap_or_else(|| panic!("wanted multipart/mixed, found {content_type}"));
    let delimiter = format!("\r\n--{}", boundary.trim_matches('"')).into_bytes();
    let body = [b"\r\n", &answer.bytes[..]].concat();
    let mut starts: Vec<usize> = (0..body.len())
        .filter(|start| body[*start..].starts_with(&delimiter))
        .map(|at| at + delimiter.len())
        .collect();
    let last = starts.pop().expect("there is a boundary");
    assert!(body[last..].starts_with(b"--"), "the parts have no end");
    let mut ends: Vec<usize> = starts.iter().skip(1).map(|next| next - delimiter.len()).collect();
    ends.push(last - delimiter.len());
    let split = |(start, end): (usize, usize)| {
        let part = &body[start..end];
        let at = part.windows(4).position(|window| window == b"\r\n\r\n").expect("a part has headers");
        (String::from_utf8_lossy(&part[..at]).to_lowercase(), part[at + 4..].to_vec())
    };
    starts.into_iter().zip(ends).map(split).collect()
}

/// An answer with a part of JSON and one of bytes.
fn multipart(headers: &str, bytes: &[u8]) -> Raw {
    let before = format!("--xyz\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--xyz\r\n{headers}\r\n\r\n");
    let body = [before.as_bytes(), bytes, b"\r\n--xyz--\r\n"].concat();
    Raw { status: 200, content_type: "multipart/mixed; boundary=xyz".to_owned(), body, is_cut: false }
}

async fn our_media_is_told_to_other_servers(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let media = alice.stores("application/x-test", bytes.clone()).await;
    let media_id = media.rsplit('/').next().expect("there is an ID");
    let answer = asks(&server, &peer, &format!("/_matrix/federation/v1/media/download/{media_id}")).await;
    let parts = parts(&answer);
    assert_eq!(parts.len(), 2, "{answer}");
    assert!(parts[0].0.contains("content-type: application/json"), "{}", parts[0].0);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&parts[0].1).ok(), Some(json!({})));
    assert!(parts[1].0.contains("content-type: application/x-test"), "{}", parts[1].0);
    assert!(parts[1].1 == bytes, "the bytes differ");
}

async fn our_thumbnails_are_told_to_other_servers(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let media = alice.stores("image/png", png(400, 200, 70)).await;
    let media_id = media.rsplit('/').next().expect("there is an ID");
    let uri = format!("/_matrix/federation/v1/media/thumbnail/{media_id}?width=32&height=32&method=crop");
    let answer = asks(&server, &peer, &uri).await;
    let parts = parts(&answer);
    assert_eq!(parts.len(), 2, "{answer}");
    assert_eq!(dimensions(&parts[1].1), Some((32, 32)));
    assert!(parts[1].0.contains("content-type: image/png"), "{}", parts[1].0);
    let ours = alice.asks_for_thumbnail(&media, 32, 32, "crop").await;
    assert!(ours.bytes == parts[1].1, "the thumbnails differ");
}

async fn requests_for_media_are_signed(server: Server) {
    let alice = server.user("alice").await;
    let media = alice.stores("text/plain", "a").await;
    let media_id = media.rsplit('/').next().expect("there is an ID");
    for path in ["download", "thumbnail"] {
        let uri = format!("/_matrix/federation/v1/media/{path}/{media_id}?width=32&height=32");
        assert_eq!(server.federation().get(uri).await.status, 401);
    }
}

async fn unknown_media_is_not_told(server: Server) {
    let peer = Peer::start(Told::Current).await;
    for media_id in ["x".repeat(24), "..%2F..".to_owned()] {
        let answer = asks(&server, &peer, &format!("/_matrix/federation/v1/media/download/{media_id}")).await;
        answer.refused(404, "M_NOT_FOUND");
    }
}

async fn media_of_other_servers_is_fetched_and_kept(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let headers = "Content-Type: application/x-test\r\nContent-Disposition: attachment; filename=\"a b.bin\"";
    peer.answers_raw(&format!("{DOWNLOAD}apicture"), multipart(headers, &bytes));
    let media = format!("{}/apicture", peer.name);
    for _ in 0..2 {
        let answer = alice.downloads(&media).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.bytes == bytes, "the bytes differ");
        assert_eq!(answer.header("content-type"), Some("application/x-test"));
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a b.bin\""));
        // It is kept once the first answer has ended, or soon after.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert_eq!(peer.asked(DOWNLOAD).len(), 1, "it is fetched once");
    let part = alice.downloads(&media).header("range", "bytes=1-3").await;
    assert_eq!((part.status, &part.bytes[..]), (206, &[1, 2, 3][..]), "{part}");
}

async fn media_of_other_servers_is_thumbnailed(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    peer.answers_raw(&format!("{DOWNLOAD}large"), multipart("Content-Type: image/png", &png(500, 500, 9)));
    let answer = alice.asks_for_thumbnail(&format!("{}/large", peer.name), 96, 96, "crop").await;
    assert_eq!(dimensions(&answer.bytes), Some((96, 96)), "{answer}");
}

async fn older_servers_are_asked_at_the_old_path(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    peer.answers(DOWNLOAD, 404, json!({ "errcode": "M_UNRECOGNIZED", "error": "What?" }));
    let old =
        Raw { status: 200, content_type: "text/plain".to_owned(), body: b"old".to_vec(), is_cut: false };
    peer.answers_raw("GET /_matrix/media/v3/download/", old);
    let answer = alice.downloads(&format!("{}/old", peer.name)).await;
    assert_eq!((answer.status, &answer.bytes[..]), (200, &b"old"[..]), "{answer}");
    let asked = peer.asked("GET /_matrix/media/v3/download/");
    assert!(asked.iter().all(|asked| asked.what.contains("allow_remote=false")), "{asked:?}");
}

async fn servers_whose_answer_is_not_of_the_specification_are_asked_at_the_old_path(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let text = |status, body: &[u8]| Raw {
        status,
        content_type: "text/plain".to_owned(),
        body: body.to_vec(),
        is_cut: false,
    };
    peer.answers_raw(DOWNLOAD, text(400, b"What?"));
    peer.answers_raw("GET /_matrix/media/v3/download/", text(200, b"old"));
    let answer = alice.downloads(&format!("{}/old", peer.name)).await;
    assert_eq!((answer.status, &answer.bytes[..]), (200, &b"old"[..]), "{answer}");
}

async fn media_that_another_server_lacks_is_not_found(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let media = format!("{}/nothing", peer.name);
    for _ in 0..2 {
        alice.downloads(&media).attempt().await.refused(404, "M_NOT_FOUND");
    }
    let thumbnail = alice.asks_for_thumbnail(&media, 32, 32, "crop").attempt().await;
    thumbnail.refused(404, "M_NOT_FOUND");
}

async fn answers_that_are_cut_or_malformed_are_no_media(server: Server) {
    let (alice, peer) = futures::join!(server.user("alice"), Peer::start(Told::Current));
    let whole = multipart("Content-Type: text/plain", b"bytes");
    let with = |body: &[u8]| Raw { body: body.to_vec(), ..whole.clone() };
    let answers = [
        ("plain", Raw { content_type: "text/plain".to_owned(), ..whole.clone() }),
        ("empty", with(b"")),
        ("onepart", with(b"--xyz\r\n\r\n{}\r\n--xyz--")),
        ("headers", with(&[&b"--xyz\r\n\r\n{}\r\n--xyz\r\n"[..], &b"a: b\r\n".repeat(20_000)].concat())),
        ("json", with(&[&b"--xyz\r\n\r\n"[..], &vec![b'a'; 2_000_000]].concat())),
        (
            "boundary",
            Raw { content_type: "multipart/mixed; boundary=".to_owned() + &"x".repeat(500), ..whole.clone() },
        ),
    ];
    for (media_id, raw) in answers {
        peer.answers_raw(&format!("{DOWNLOAD}{media_id}"), raw);
        let answer = alice.downloads(&format!("{}/{media_id}", peer.name)).attempt().await;
        assert_eq!(answer.status, 502, "{media_id}: {answer}");
    }
    // What breaks off later is never told as whole, nor kept.
    let mut cut = multipart("Content-Type: text/plain", &vec![b'a'; 500_000]);
    cut.is_cut = true;
    peer.answers_raw(&format!("{DOWNLOAD}cut"), cut);
    let thumbnail = alice.asks_for_thumbnail(&format!("{}/cut", peer.name), 32, 32, "crop").attempt().await;
    assert_eq!(thumbnail.status, 502, "{thumbnail}");
    // Others are served meanwhile.
    peer.answers_raw(&format!("{DOWNLOAD}whole"), whole);
    assert_eq!(alice.downloads(&format!("{}/whole", peer.name)).await.bytes, b"bytes");
}

async fn servers_that_are_away_are_told_as_such(server: Server) {
    let alice = server.user("alice").await;
    let answer = alice.downloads(&format!("127.0.0.1:1/{}", "x".repeat(24))).attempt().await;
    assert!(
        matches!((answer.status, answer.errcode()), (502, "M_UNKNOWN") | (404, "M_NOT_FOUND")),
        "{answer}"
    );
}
