//! Hostile input: the specification's error each time, and the server goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use plexus_log::{InputRoom, RawRecord, partition_of};
use plexus_proto::operator::v1::{ListDeadLettersRequest, partition_service_client::PartitionServiceClient};
use plexus_testkit::actor::{User, escape};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A request and the answers that are right for it.
type Case = (Method, String, Vec<u8>, &'static [(u16, &'static str)]);

/// Sends a body as it is; returns status and `errcode`.
async fn raw(stage: &Stage, user: &User, method: Method, path: &str, body: Vec<u8>) -> Result<(u16, String)> {
    let url = format!("{}/_matrix/client/v3{path}", stage.services.homeserver.client);
    let request = Client::new().request(method, url).bearer_auth(&user.token).body(body);
    let response = request.timeout(Duration::from_secs(20)).send().await?;
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
    Ok((status, body["errcode"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_the_error_of_the_specification() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let room = alice.create_room(&json!({})).await?;
    let send = format!("/rooms/{}/send/m.room.message", escape(&room));
    let state = format!("/rooms/{}/state/m.room.topic", escape(&room));
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let large = format!("{{\"body\":\"{}\"}}", "x".repeat(100_000));
    let huge = format!("{{\"body\":\"{}\"}}", "x".repeat(1_100_000));

    let cases: Vec<Case> = vec![
        (Method::PUT, format!("{send}/1"), b"{".to_vec(), &[(400, "M_NOT_JSON")]),
        (Method::PUT, format!("{send}/2"), b"not json".to_vec(), &[(400, "M_NOT_JSON")]),
        (Method::PUT, format!("{send}/3"), b"{\"body\":\"\xff\xfe\"}".to_vec(), &[(400, "M_NOT_JSON")]),
        (Method::PUT, format!("{send}/4"), b"[]".to_vec(), &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]),
        (Method::PUT, format!("{send}/5"), b"{\"n\":1.5}".to_vec(), &[(400, "M_BAD_JSON")]),
        (Method::PUT, format!("{send}/6"), b"{\"n\":9007199254740992}".to_vec(), &[(400, "M_BAD_JSON")]),
        (
            Method::PUT,
            format!("{send}/7"),
            b"{\"n\":1e400}".to_vec(),
            &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")],
        ),
        (
            Method::PUT,
            format!("{send}/8"),
            b"{\"n\":123456789012345678901234567890}".to_vec(),
            &[(400, "M_BAD_JSON")],
        ),
        (Method::PUT, format!("{send}/9"), deep.into_bytes(), &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]),
        (Method::PUT, format!("{send}/10"), large.clone().into_bytes(), &[(413, "M_TOO_LARGE")]),
        (Method::PUT, format!("{send}/11"), huge.into_bytes(), &[(413, "M_TOO_LARGE")]),
        (Method::PUT, state.clone(), large.into_bytes(), &[(413, "M_TOO_LARGE")]),
        (Method::PUT, state, b"\"text\"".to_vec(), &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]),
        (Method::POST, "/createRoom".to_owned(), b"{\"preset\":7}".to_vec(), &[(400, "M_BAD_JSON")]),
        (
            Method::POST,
            "/createRoom".to_owned(),
            b"{\"room_version\":\"nonsense\"}".to_vec(),
            &[(400, "M_UNSUPPORTED_ROOM_VERSION")],
        ),
        (
            Method::POST,
            format!("/rooms/{}/invite", escape(&room)),
            b"{\"user_id\":\"not a user\"}".to_vec(),
            &[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")],
        ),
        (
            Method::POST,
            "/rooms/nonsense/join".to_owned(),
            b"{}".to_vec(),
            &[(400, "M_INVALID_PARAM"), (404, "M_NOT_FOUND")],
        ),
        (
            Method::PUT,
            "/rooms/%21nowhere%3Aplexus.test/send/m.room.message/1".to_owned(),
            b"{}".to_vec(),
            &[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")],
        ),
        (Method::POST, "/nothing/here".to_owned(), b"{}".to_vec(), &[(404, "M_UNRECOGNIZED")]),
        (Method::DELETE, "/createRoom".to_owned(), Vec::new(), &[(405, "M_UNRECOGNIZED")]),
        (
            Method::GET,
            "/sync?since=garbage".to_owned(),
            Vec::new(),
            &[(400, "M_UNKNOWN_POS"), (400, "M_INVALID_PARAM")],
        ),
        (
            Method::GET,
            "/sync?filter=%7Bbroken".to_owned(),
            Vec::new(),
            &[(400, "M_INVALID_PARAM"), (400, "M_NOT_JSON")],
        ),
        (
            Method::GET,
            format!("/rooms/{}/messages?dir=sideways", escape(&room)),
            Vec::new(),
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")],
        ),
        (
            Method::GET,
            format!("/rooms/{}/messages?dir=b&from=garbage", escape(&room)),
            Vec::new(),
            &[(400, "M_INVALID_PARAM")],
        ),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, allowed) in cases {
        let shown = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        let (status, errcode) = raw(&stage, &alice, method, &path, body).await?;
        if !allowed.contains(&(status, errcode.as_str())) {
            wrong.push(format!("{shown}: {status} {errcode}, not one of {allowed:?}"));
        }
    }
    let mut nobody = alice.clone();
    "nonsense".clone_into(&mut nobody.token);
    let answer = nobody.call(Method::GET, "/account/whoami", None).await?;
    if answer.error() != (401, "M_UNKNOWN_TOKEN") {
        wrong.push(format!("an unknown token: {answer:?}"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    alice.send(&room, "the room still works").await?;
    Ok(())
}

/// Accepts the answers of one kind of garbage after another on every endpoint that takes a body: never a 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_never_causes_an_internal_error() -> Result<()> {
    let mut stage = Stage::start(Shape::Standalone).await?;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let room = alice.create_room(&json!({})).await?;
    let r = escape(&room);
    let paths = [
        (Method::POST, "/createRoom".to_owned()),
        (Method::POST, "/register".to_owned()),
        (Method::POST, "/login".to_owned()),
        (Method::POST, "/refresh".to_owned()),
        (Method::POST, "/account/password".to_owned()),
        (Method::POST, "/delete_devices".to_owned()),
        (Method::POST, format!("/user/{}/filter", escape(&alice.id))),
        (Method::PUT, format!("/user/{}/account_data/x", escape(&alice.id))),
        (Method::PUT, format!("/user/{}/rooms/{r}/account_data/x", escape(&alice.id))),
        (Method::PUT, format!("/profile/{}/displayname", escape(&alice.id))),
        (Method::PUT, format!("/rooms/{r}/send/x/y")),
        (Method::PUT, format!("/rooms/{r}/state/m.room.power_levels")),
        (Method::PUT, format!("/rooms/{r}/state/m.room.member/{}", escape(&alice.id))),
        (Method::PUT, format!("/rooms/{r}/state/m.room.join_rules")),
        (Method::PUT, format!("/rooms/{r}/state/m.room.canonical_alias")),
        (Method::PUT, format!("/rooms/{r}/state/m.room.history_visibility")),
        (Method::PUT, format!("/rooms/{r}/redact/%24nothing/1")),
        (Method::POST, format!("/rooms/{r}/invite")),
        (Method::POST, format!("/rooms/{r}/kick")),
        (Method::POST, format!("/rooms/{r}/ban")),
        (Method::POST, format!("/rooms/{r}/unban")),
        (Method::PUT, "/directory/room/%23alias%3Aplexus.test".to_owned()),
    ];
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"\"",
        b"{\"users\":[],\"users_default\":\"x\",\"join_rule\":3,\"membership\":{},\"user_id\":[]}",
        b"{\"users\":{\"not a user\":1e99}}",
        b"{\"membership\":\"join\",\"displayname\":{\"a\":[1,2,{}]}}",
        b"{\"type\":\"m.login.password\",\"identifier\":{\"type\":\"m.id.user\",\"user\":\"\\u0000\"},\"password\":1}",
        b"{\"room_id\":7,\"aliases\":\"x\",\"alias\":\"#x:elsewhere\",\"history_visibility\":[]}",
        b"{\"\\ud800\":1}",
        b"{\"a\":-9007199254740993}",
    ];
    for (method, path) in &paths {
        for body in bodies {
            let (status, _) = raw(&stage, &alice, method.clone(), path, body.to_vec()).await?;
            ensure!(status < 500, "{method} {path} {} answered {status}", String::from_utf8_lossy(body));
        }
    }
    stage.services.process("standalone")?.check()?;
    let output = stage.services.process("standalone")?.output();
    ensure!(!output.contains("panicked"), "something panicked:\n{output}");
    let other = alice.create_room(&json!({})).await?;
    alice.send(&other, "still here").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_record_ends_in_dead_letters() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(1)).await?;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let room = alice.create_room(&json!({})).await?;
    let log = stage.log().await?;
    let partition = partition_of(&room);
    for payload in [&b"\xff\xff\xff not protobuf"[..], b""] {
        let record =
            RawRecord { key: room.clone().into(), headers: Vec::new(), payload: payload.to_vec().into() };
        log.append_raw::<InputRoom>(partition, record).await?;
    }
    alice.send(&room, "the partition goes on").await?;

    let channel = stage.operator(0)?;
    let request = ListDeadLettersRequest { limit: 10 };
    let letters =
        PartitionServiceClient::new(channel).list_dead_letters(request).await?.into_inner().dead_letters;
    ensure!(letters.len() == 2, "not two dead letters: {letters:?}");
    for letter in &letters {
        ensure!(letter.partition == partition && !letter.error.is_empty(), "no reason: {letter:?}");
    }
    stage.services.process("roomserver-0")?.check()?;
    Ok(())
}
