//! A room that replaces another, made by hand: what members had set for the old one goes with them.

use anyhow::Result;
use plexus_testkit::actor::{User, escape};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::Method;
use serde_json::{Value, json};

/// Mutes a room, by the rule that clients make for it.
async fn mutes(user: &User, room: &str) -> Result<()> {
    let condition = json!({ "kind": "event_match", "key": "room_id", "pattern": room });
    let rule = json!({ "actions": [], "conditions": [condition] });
    user.call(Method::PUT, &format!("/pushrules/global/override/{}", escape(room)), Some(&rule))
        .await?
        .ok()?;
    let tag = format!("/user/{}/rooms/{}/tags/u.tea", escape(&user.id), escape(room));
    user.call(Method::PUT, &tag, Some(&json!({}))).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_go_with_who_makes_and_who_joins_a_room_that_replaces_another() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let server = &stage.services.homeserver;
    let (alice, bob) = (User::register(server, "alice").await?, User::register(server, "bob").await?);
    let old = alice.create_room(&json!({ "preset": "public_chat" })).await?;
    bob.join(&old).await?.ok()?;
    for user in [&alice, &bob] {
        mutes(user, &old).await?;
    }
    let creation = json!({ "predecessor": { "room_id": old } });
    let new = alice.create_room(&json!({ "preset": "public_chat", "creation_content": creation })).await?;
    bob.join(&new).await?.ok()?;
    for user in [&alice, &bob] {
        let path = format!("/pushrules/global/override/{}", escape(&new));
        let rule = user.call(Method::GET, &path, None).await?.ok()?;
        assert_eq!(rule["conditions"][0]["pattern"], Value::from(new.as_str()), "{rule}");
        let tags = format!("/user/{}/rooms/{}/tags", escape(&user.id), escape(&new));
        assert_eq!(user.call(Method::GET, &tags, None).await?.ok()?, json!({ "tags": { "u.tea": {} } }));
    }
    Ok(())
}
