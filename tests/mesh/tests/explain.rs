//! Operators ask with `grpcurl` what became of events: an accepted, a rejected, a soft-failed and a parked one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use plexus_events::{Draft, RoomRules, SigningKey, canonical};
use plexus_log::{InputRoom, Log};
use plexus_proto::log::v1::{InputRoomEvent, Pdu, input_room_event::Body, pdu::Kind};
use plexus_testkit::{
    actor::{User, escape},
    server::Services,
};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::Method;
use ruma::{OwnedEventId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::process::Command;

const BOB: &str = "@bob:b.example";
const CAROL: &str = "@carol:b.example";
const VERSION: &str = "12";

/// Runs `grpcurl`, which learns by reflection what it may ask.
async fn grpcurl(services: &Services, method: &str, request: &Value) -> Result<Value> {
    let program = std::env::var("PLEXUS_TEST_GRPCURL")
        .context("PLEXUS_TEST_GRPCURL is not set: run these tests by `tests/run mesh`")?;
    let operator = services.operator(0)?;
    let address = operator.trim_start_matches("http://");
    let token = format!("authorization: Bearer {}", services.operator_token()?);
    let arguments = ["-plaintext", "-H", &token, "-d", &request.to_string(), address, method];
    let output = Command::new(program).args(arguments).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "grpcurl: {errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Asks until an event is known.
async fn explained(services: &Services, event_id: &str) -> Result<Value> {
    let request = json!({ "event_id": event_id });
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        match grpcurl(services, "plexus.operator.v1.ExplainService/ExplainEvent", &request).await {
            Ok(answer) => return Ok(answer),
            Err(error) if tokio::time::Instant::now() > end => {
                bail!("{event_id} is not explained: {error:#}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A room, and another server that sends events of it.
struct Other<'a> {
    log: Log,
    alice: &'a User,
    room: String,
    key: SigningKey,
}

impl Other<'_> {
    /// ID of a state event as it is now.
    async fn state_id(&self, kind: &str, state_key: &str) -> Result<OwnedEventId> {
        let path = format!("/rooms/{}/state", escape(&self.room));
        let state = self.alice.call(Method::GET, &path, None).await?.ok()?;
        let mut state = state.as_array().context("no list")?.iter();
        let event = state.find(|event| event["type"] == kind && event["state_key"] == state_key);
        let id = event.and_then(|event| event["event_id"].as_str()).context("no such state event")?;
        Ok(OwnedEventId::try_from(id)?)
    }

    /// ID of the last event.
    async fn latest(&self) -> Result<OwnedEventId> {
        let path = format!("/rooms/{}/messages?dir=b&limit=1", escape(&self.room));
        let page = self.alice.call(Method::GET, &path, None).await?.ok()?;
        Ok(OwnedEventId::try_from(page["chunk"][0]["event_id"].as_str().context("no event")?)?)
    }

    /// Builds an event as the other server would, and hands it to the room server as its federation receiver would.
    async fn send(
        &self,
        (sender, kind, state_key): (&str, &str, Option<&str>),
        content: Value,
        auth: &[OwnedEventId],
        prev: &[OwnedEventId],
    ) -> Result<String> {
        let user = <&UserId>::try_from(sender)?;
        let room = RoomId::parse(&self.room)?;
        let draft = Draft {
            room_id: Some(&room),
            sender: user,
            event_type: kind,
            state_key,
            content: canonical::parse_object(content.to_string().as_bytes())?,
            redacts: None,
            prev_events: prev,
            auth_events: auth,
            depth: 50,
            origin_server_ts: 1_700_000_000_000,
        };
        let event = draft.hash(RoomRules::of(VERSION)?)?.sign(user.server_name(), &self.key)?;
        let pdu = Pdu {
            kind: Kind::New.into(),
            json: event.json.into(),
            origin: "b.example".to_owned(),
            ..Pdu::default()
        };
        let record = InputRoomEvent {
            version: 1,
            // Any 16 bytes that nobody else takes.
            input_id: event.event_id.as_bytes()[1..17].to_vec().into(),
            room_id: self.room.clone(),
            produced_ts: 1_700_000_000_000,
            traceparent: String::new(),
            body: Some(Body::Pdu(pdu)),
        };
        self.log.append::<InputRoom>(&record).await?;
        Ok(event.event_id.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_explains_what_became_of_events() -> Result<()> {
    let stage = Stage::start(Shape::Mesh(1)).await?;
    let services = &stage.services;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let room = alice.create_room(&json!({ "preset": "public_chat", "room_version": VERSION })).await?;
    let key = SigningKey::from_seed("a_test", &[9; 32])?;
    let other = Other { log: stage.log().await?, alice: &alice, room: room.clone(), key };
    let levels = other.state_id("m.room.power_levels", "").await?;
    let rules = other.state_id("m.room.join_rules", "").await?;
    let message = |sender| (sender, "m.room.message", None);

    let joins = (BOB, "m.room.member", Some(BOB));
    let prev = [other.latest().await?];
    let join = other.send(joins, json!({"membership": "join"}), &[levels.clone(), rules], &prev).await?;
    let accepted = explained(services, &join).await?;
    assert_eq!(accepted["standing"], "EVENT_STANDING_ACCEPTED", "{accepted}");
    assert_eq!(accepted["roomId"], room.as_str(), "{accepted}");
    assert!(accepted["stateAfter"].is_object() && accepted["authEvents"].is_array(), "{accepted}");

    let join = OwnedEventId::try_from(join)?;
    let auth = [levels, join.clone()];
    let prev = std::slice::from_ref(&join);
    let uninvited = other.send(message(CAROL), json!({"body": "hi"}), &auth, prev).await?;
    let rejected = explained(services, &uninvited).await?;
    assert_eq!(rejected["standing"], "EVENT_STANDING_REJECTED", "{rejected}");
    assert_eq!(rejected["stage"], "auth_events", "{rejected}");
    assert!(rejected["rule"].as_str().is_some_and(|rule| !rule.is_empty()), "{rejected}");

    // Bob is banned, and sends as if he did not know.
    let ban = format!("/rooms/{}/ban", escape(&room));
    alice.call(Method::POST, &ban, Some(&json!({ "user_id": BOB }))).await?.ok()?;
    let late = other.send(message(BOB), json!({"body": "still here"}), &auth, prev).await?;
    let soft_failed = explained(services, &late).await?;
    assert_eq!(soft_failed["standing"], "EVENT_STANDING_SOFT_FAILED", "{soft_failed}");
    assert_eq!(soft_failed["stage"], "current_state", "{soft_failed}");

    let unknown = [OwnedEventId::try_from(format!("${}", "A".repeat(43)))?];
    let early = other.send(message(BOB), json!({"body": "before its time"}), &auth, &unknown).await?;
    let parked = explained(services, &early).await?;
    assert_eq!(parked["standing"], "EVENT_STANDING_PARKED", "{parked}");
    assert!(parked.to_string().contains(unknown[0].as_str()), "it is told what it waits for: {parked}");

    let request = json!({ "event_id": unknown[0].as_str() });
    let nothing = grpcurl(services, "plexus.operator.v1.ExplainService/ExplainEvent", &request).await;
    assert!(nothing.is_err_and(|error| error.to_string().contains("NotFound")));
    Ok(())
}
