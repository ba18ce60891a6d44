//! [Room versions](https://spec.matrix.org/v1.19/rooms/): what differs between them, as clients see it.

use serde_json::json;

use crate::{actor::Room, server::Server, wire::Json as _};

tests![rooms_of_old_versions_live, rooms_of_old_versions_are_upgraded, redaction_keeps_what_the_version_says,];

/// The oldest versions that are in use.
const OLD: [&str; 3] = ["3", "4", "5"];

async fn rooms_of_old_versions_live(server: Server) {
    let (alice, bob) = server.pair().await;
    for version in OLD {
        let room = alice.creates_room().public().with("room_version", json!(version)).member(&bob).await;
        let since = bob.sync_token().await;
        // Until version 3, event IDs may have slashes; of twenty, some do.
        let mut said = Vec::new();
        for number in 0..20 {
            said.push(alice.says(&room, &number.to_string()).await);
        }
        for event in &said {
            assert_eq!(bob.reads_event(&room, event).await.ok().text("/event_id"), *event);
            bob.reads_context(&room, event).query("limit", 0).await.ok();
        }
        let last = said.last().expect("twenty");
        assert_eq!(bob.hears(&since, &room, last).await.text("/content/body"), "19");
        bob.post(path!("/rooms/{}/receipt/m.read/{}", room, last), json!({})).await.ok();
        alice.redacts(&room, last).await.ok();
        assert_eq!(bob.reads_event(&room, last).await.ok()["content"], json!({}));
        alice.sets_state(&room, "m.room.topic", "", json!({ "topic": "Tea" })).await.ok();
        alice.kicks(&bob, &room).await.ok();
        assert_eq!(alice.reads_membership(&room, &bob).await, "leave");
    }
}

async fn rooms_of_old_versions_are_upgraded(server: Server) {
    let alice = server.user("alice").await;
    for version in OLD {
        let old = alice.creates_room().with("room_version", json!(version)).with("name", json!("Pub")).await;
        let body = json!({ "new_version": "12" });
        let answer = alice.post(path!("/rooms/{}/upgrade", old), body).await.ok();
        let new = Room(answer.text("/replacement_room"));
        let create = alice.reads_state(&new, "m.room.create", "").await.ok();
        assert_eq!(
            (&create["room_version"], &create["predecessor"]["room_id"]),
            (&json!("12"), &json!(old.0))
        );
        assert_eq!(alice.reads_state(&new, "m.room.name", "").await.ok()["name"], "Pub");
        let tombstone = alice.reads_state(&old, "m.room.tombstone", "").await.ok();
        assert_eq!(tombstone["replacement_room"], new.0);
    }
}

async fn redaction_keeps_what_the_version_says(server: Server) {
    let alice = server.user("alice").await;
    for (version, kept) in [("5", true), ("6", false)] {
        let room = alice.creates_room().with("room_version", json!(version)).await;
        // Special until version 5, where its state key must be the sender's server.
        let aliases = json!({ "aliases": [server.alias()] });
        let event = alice.sets_state(&room, "m.room.aliases", server.name(), aliases.clone()).await;
        alice.redacts(&room, &event.ok().text("/event_id")).await.ok();
        let content = alice.reads_state(&room, "m.room.aliases", server.name()).await.ok();
        assert_eq!(content, if kept { aliases } else { json!({}) }, "version {version}");
    }
}
