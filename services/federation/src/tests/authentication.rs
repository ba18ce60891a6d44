use plexus_s2s::authorization::Authorization;

use super::*;

// Servers are addresses that must not be connected to, so that nobody is asked for long.
const PROFILE: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Aother.test";
const MISSING: &str = "/_matrix/federation/v1/get_missing_events/!a%3Aus.test";

fn ask(key: &SigningKey) -> Ask<'_> {
    Ask { method: Method::GET, uri: PROFILE, body: "", origin: "192.0.2.1", destination: "us.test", key }
}

/// The handler is reached: it knows nothing of users of other servers.
async fn passes(fixture: &Fixture, request: Request<Body>) {
    let (status, body, _) = fixture.ask(request).await;
    assert_eq!((status, body["errcode"].as_str()), (StatusCode::NOT_FOUND, Some("M_NOT_FOUND")), "{body}");
}

async fn fails(fixture: &Fixture, request: Request<Body>, what: &str) {
    let (status, body, _) = fixture.ask(request).await;
    let expected = (StatusCode::UNAUTHORIZED, Some("M_UNAUTHORIZED"));
    assert_eq!((status, body["errcode"].as_str()), expected, "{what}: {body}");
}

#[tokio::test]
async fn signed_requests_pass_however_the_header_is_written() {
    let (fixture, key) = (Fixture::new(&json!({})), key("a", 1));
    fixture.know("192.0.2.1", &key, HOUR, None);
    let ask = ask(&key);
    passes(&fixture, ask.signed()).await;
    let header = ask.header();
    for other in [
        header.replace('"', ""),
        header.replace(',', " ,\t"),
        header.replace("X-Matrix ", "x-matrix   unknown=\"a,b\","),
        header.replace(",destination=\"us.test\"", ""),
    ] {
        // A signature is of the destination, also where the header does not name it.
        passes(&fixture, ask.with(&[&other])).await;
    }
    // A key that nobody knows counts for nothing beside one that is known.
    let unknown = Ask { key: &super::key("zzz", 9), ..ask.clone() }.header();
    passes(&fixture, ask.with(&[&unknown, &header])).await;
    passes(&fixture, ask.with(&[&header, &unknown])).await;
}

#[tokio::test]
async fn whatever_is_wrong_the_request_is_unauthorized() {
    let (fixture, known) = (Fixture::new(&json!({})), key("a", 1));
    fixture.know("192.0.2.1", &known, HOUR, None);
    fixture.know("192.0.2.2", &known, HOUR, None);
    fixture.know("192.0.2.3", &known, -1, None);
    fixture.know("192.0.2.4", &known, HOUR, Some(now_ms() - HOUR));
    let ask = ask(&known);
    let header = ask.header();
    let parsed = Authorization::parse(header.as_bytes()).unwrap();
    fails(&fixture, ask.with(&[]), "no header").await;
    for (what, header) in [
        ("another scheme", "Bearer abc".to_owned()),
        ("nothing", String::new()),
        ("no parameters", "X-Matrix ".to_owned()),
        ("no origin", header.replace("origin=", "x=")),
        ("no key", header.replace("key=", "x=")),
        ("no signature", header.replace("sig=", "x=")),
        ("two origins", header.replace("origin=", "origin=\"192.0.2.1\",origin=")),
        ("a malformed origin", header.replace("192.0.2.1", "a test")),
        ("another origin, whose key it is, too", header.replace("192.0.2.1", "192.0.2.2")),
        ("another destination", header.replace("us.test", "them.test")),
        ("a signature of nothing", header.replace(&parsed.signature, "AAAA")),
        ("no signature at all", header.replace(&parsed.signature, "!")),
        ("an unknown key", header.replace("ed25519:a", "ed25519:b")),
        ("an unknown algorithm", header.replace("ed25519:a", "rsa:a")),
        ("our own name", Ask { origin: "us.test", ..ask.clone() }.header()),
        ("signed for another", Ask { destination: "them.test", ..ask.clone() }.header()),
        ("another method", Ask { method: Method::POST, ..ask.clone() }.header()),
        ("another path", Ask { uri: "/_matrix/federation/v1/query/directory", ..ask.clone() }.header()),
        ("another spelling of the path", Ask { uri: &PROFILE.replace("%3A", ":"), ..ask.clone() }.header()),
        ("a body that did not come", Ask { body: "{}", ..ask.clone() }.header()),
        ("another key", Ask { key: &key("a", 2), ..ask.clone() }.header()),
        ("a key that is no longer valid", Ask { origin: "192.0.2.3", ..ask.clone() }.header()),
        ("a key that was retired", Ask { origin: "192.0.2.4", ..ask.clone() }.header()),
        ("a server that cannot be asked", Ask { origin: "127.0.0.1:1", ..ask.clone() }.header()),
    ] {
        fails(&fixture, ask.with(&[&header]), what).await;
    }
    let wrong = Ask { key: &key("a", 2), ..ask.clone() }.header();
    fails(&fixture, ask.with(&[&header, &wrong]), "a wrong signature beside a right one").await;
    let another = Ask { origin: "192.0.2.2", ..ask.clone() }.header();
    fails(&fixture, ask.with(&[&header, &another]), "two servers").await;
    passes(&fixture, ask.signed()).await;
}

#[tokio::test]
async fn bodies_are_signed_by_what_they_say() {
    let (fixture, key) = (Fixture::new(&json!({})), key("a", 1));
    fixture.know("192.0.2.1", &key, HOUR, None);
    let body = r#"{"latest_events":[],"earliest_events":[],"x":[1.5,1e400]}"#;
    let ask = Ask {
        method: Method::POST,
        uri: MISSING,
        body: &body.replace("1e400", "12345678901234567890123"),
        ..ask(&key)
    };
    let header = ask.header();
    let status =
        async |body: &str, header: &str| fixture.ask(Ask { body, ..ask.clone() }.with(&[header])).await.0;
    // The room server of this test knows no rooms.
    assert_eq!(status(ask.body, &header).await, StatusCode::INTERNAL_SERVER_ERROR);
    let spaced = ask.body.replace(':', " : ");
    assert_eq!(status(&spaced, &header).await, StatusCode::INTERNAL_SERVER_ERROR);
    let changed = ask.body.replace("1.5", "1.6");
    assert_eq!(status(&changed, &header).await, StatusCode::UNAUTHORIZED);
    for nonsense in ["[]", "{", body, "\"\""] {
        assert_eq!(status(nonsense, &header).await, StatusCode::BAD_REQUEST, "{nonsense}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(128 * 1024));
    assert_eq!(status(&long, &header).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn servers_have_a_rate_that_nobody_else_can_use_up() {
    let fixture = Fixture::new(&json!({ "origin_rate": { "per_second": 0.001, "burst": 3 } }));
    let key = key("a", 1);
    fixture.know("192.0.2.1", &key, HOUR, None);
    fixture.know("192.0.2.2", &key, HOUR, None);
    let ask = ask(&key);
    // Whoever only claims to be the server takes nothing from it.
    let forged = Ask { key: &super::key("a", 2), ..ask.clone() }.header();
    for _ in 0..20 {
        fails(&fixture, ask.with(&[&forged]), "forged").await;
    }
    for _ in 0..3 {
        passes(&fixture, ask.signed()).await;
    }
    let (status, body, _) = fixture.ask(ask.signed()).await;
    assert_eq!((status, body["errcode"].as_str()), (StatusCode::TOO_MANY_REQUESTS, Some("M_LIMIT_EXCEEDED")));
    passes(&fixture, Ask { origin: "192.0.2.2", ..ask.clone() }.signed()).await;
    // In the end the address of the forger is not listened to any more.
    let mut last = StatusCode::OK;
    for _ in 0..200 {
        last = fixture.ask(ask.with(&[&forged])).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}
