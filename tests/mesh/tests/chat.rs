//! Two people chat, in both shapes: the whole way once, and what either sees.

use std::time::Duration;

use anyhow::{Context as _, Result};
use plexus_testkit::actor::{User, escape};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

async fn two_people_chat(shape: Shape) -> Result<()> {
    let stage = Stage::start(shape).await?;
    let server = &stage.services.homeserver;
    let (alice, bob) = (User::register(server, "alice").await?, User::register(server, "bob").await?);

    let room = alice.create_room(&json!({ "preset": "private_chat", "name": "Tea" })).await?;
    let refused = bob.join(&room).await?;
    assert_eq!(refused.error(), (403, "M_FORBIDDEN"), "a private room takes nobody uninvited");

    alice.moderate(&room, "invite", &bob).await?.ok()?;
    let (inviter, since) = bob
        .sync_until("the invite", None, PATIENCE, |sync| {
            let invite = sync.pointer("/rooms/invite")?.get(&room)?;
            let events = invite.pointer("/invite_state/events")?.as_array()?;
            let member = events.iter().find(|event| event["state_key"] == bob.id.as_str())?;
            member["sender"].as_str().map(str::to_owned)
        })
        .await?;
    assert_eq!(inviter, alice.id);

    bob.join(&room).await?.ok()?;
    let (name, since) = bob
        .sync_until("the joined room with its name", Some(since), PATIENCE, |sync| {
            let joined = sync.pointer("/rooms/join")?.get(&room)?;
            let state = joined.pointer("/state/events")?.as_array()?;
            let timeline = joined.pointer("/timeline/events")?.as_array()?;
            let name = state.iter().chain(timeline).find(|event| event["type"] == "m.room.name")?;
            name.pointer("/content/name")?.as_str().map(str::to_owned)
        })
        .await?;
    assert_eq!(name, "Tea");

    let sent = alice.send(&room, "hello").await?;
    let is_sent = |sync: &Value| -> Option<Value> {
        let events = sync.pointer("/rooms/join")?.get(&room)?.pointer("/timeline/events")?.as_array()?;
        events.iter().find(|event| event["event_id"] == sent.as_str()).cloned()
    };
    let (seen, since) = bob.sync_until("the message", Some(since), PATIENCE, is_sent).await?;
    assert_eq!(seen["content"]["body"], "hello");
    assert!(
        seen["unsigned"].get("transaction_id").is_none(),
        "the transaction is its sender's alone: {seen}"
    );
    let (own, _) = alice.sync_until("her own message", None, PATIENCE, is_sent).await?;
    assert!(own["unsigned"]["transaction_id"].is_string(), "her device gets its transaction back: {own}");

    let again = alice.send_in(&room, "the-same", "once").await?.ok()?;
    assert_eq!(
        again,
        alice.send_in(&room, "the-same", "once").await?.ok()?,
        "a transaction is carried out once"
    );

    let redacted = alice
        .call(Method::PUT, &format!("/rooms/{}/redact/{}/r1", escape(&room), escape(&sent)), Some(&json!({})))
        .await?;
    redacted.ok()?;
    let event = bob
        .call(Method::GET, &format!("/rooms/{}/event/{}", escape(&room), escape(&sent)), None)
        .await?
        .ok()?;
    assert!(event["content"].get("body").is_none(), "a redacted message has lost its text: {event}");

    bob.call(Method::POST, &format!("/rooms/{}/leave", escape(&room)), Some(&json!({}))).await?.ok()?;
    bob.sync_until("the left room", Some(since), PATIENCE, |sync| {
        sync.pointer("/rooms/leave")?.get(&room).cloned()
    })
    .await?;
    let refused = bob.send_in(&room, "late", "still here?").await?;
    assert_eq!(refused.error(), (403, "M_FORBIDDEN"));

    let everything = alice.all_messages(&room).await?;
    let oldest = everything.last().context("a room has events")?;
    assert_eq!(oldest["type"], "m.room.create", "the timeline reaches back to the beginning");

    alice.call(Method::POST, "/logout", Some(&json!({}))).await?.ok()?;
    let refused = alice.call(Method::GET, "/account/whoami", None).await?;
    assert_eq!(refused.error(), (401, "M_UNKNOWN_TOKEN"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat_on_standalone() -> Result<()> {
    two_people_chat(Shape::Standalone).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat_on_the_mesh() -> Result<()> {
    two_people_chat(Shape::Mesh(1)).await
}
