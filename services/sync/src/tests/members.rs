//! Users who come and go.

use serde_json::json;

use super::world::{World, ids, keys, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";
const DAVE: &str = "@dave:example.org";
const ROOM: &str = "!room:example.org";

#[tokio::test]
async fn a_room_that_one_joins_comes_with_its_state_and_what_one_may_see() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    world.say(ROOM, ALICE, "before").await;
    let joined = world.member(ROOM, BOB, BOB, "join").await;
    let after = world.say(ROOM, ALICE, "after").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    let room = &answer["rooms"]["join"][ROOM];
    let seen = ids(&room["timeline"]);
    assert!(seen.ends_with(&[joined.as_str(), after.as_str()]), "{seen:?}");
    let timeline = room["timeline"]["events"].as_array().unwrap();
    assert!(timeline.iter().all(|event| event["content"]["body"] != "before"), "{timeline:?}");
    assert_eq!(room["timeline"]["limited"], true);
    // Together they tell the whole state.
    let mut told = [keys(&room["state"]), keys(&room["timeline"])].concat();
    told.retain(|key| key != "m.room.message|");
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(room["summary"]["m.joined_member_count"], 2);
    assert_eq!(room["summary"]["m.heroes"], json!([ALICE]));
}

#[tokio::test]
async fn who_is_invited_is_woken_and_then_joins() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = std::sync::Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let waiting = tokio::spawn({
        let (replica, world, since) = (replica.clone(), world.clone(), since.clone());
        async move { replica.sync(&world, BOB, &[("since", &since), ("timeout", "10000")]).await }
    });
    replica.waits(BOB).await;
    world.member(ROOM, ALICE, BOB, "invite").await;
    let answer = waiting.await.unwrap();
    assert!(keys(&answer["rooms"]["invite"][ROOM]["invite_state"]).contains(&format!("m.room.member|{BOB}")));
    let since = token(&answer);
    // What happens in the room is not for the invited.
    world.say(ROOM, ALICE, "unheard").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    assert_eq!(answer["rooms"]["invite"], json!({}));
    world.member(ROOM, BOB, BOB, "join").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    assert!(answer["rooms"]["join"][ROOM].is_object());
    assert_eq!(answer["rooms"]["invite"], json!({}));
}

#[tokio::test]
async fn who_wants_no_invites_is_told_of_none() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    world.member(ROOM, ALICE, BOB, "invite").await;
    let set = async |content| world.set_account_data(BOB, "", "m.invite_permission_config", content).await;
    // What is not known blocks nothing.
    for (content, told) in [
        (json!({"default_action": "block"}), 0),
        (json!({"default_action": "allow"}), 1),
        (json!({"default_action": ["block"]}), 1),
        (json!({"default_action": "block"}), 0),
        (json!({}), 1),
    ] {
        set(content.clone()).await;
        replica.settle(&world).await;
        for replica in [&replica, &world.replica().await] {
            for query in [&[][..], &[("since", since.as_str())]] {
                let answer = replica.sync(&world, BOB, query).await;
                let invites = answer["rooms"]["invite"].as_object().expect("invites");
                assert_eq!(invites.len(), told, "{content}");
            }
        }
    }
}

#[tokio::test]
async fn a_rejected_invite_is_a_left_room() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, ALICE, BOB, "invite").await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let left = world.member(ROOM, BOB, BOB, "leave").await;
    world.say(ROOM, ALICE, "unseen").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    let room = &answer["rooms"]["leave"][ROOM];
    assert_eq!(ids(&room["timeline"]), [left.as_str()]);
    assert_eq!(keys(&room["state"]), Vec::<String>::new());
}

#[tokio::test]
async fn what_one_is_in_a_room_one_is_not_in_is_told_by_the_timeline_or_the_state() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, ALICE, BOB, "ban").await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let unbanned = world.member(ROOM, ALICE, BOB, "leave").await;
    replica.settle(&world).await;
    let (after, none) = (("use_state_after", "true"), r#"{"room":{"timeline":{"limit":0}}}"#);
    let hidden = r#"{"room":{"timeline":{"not_types":["m.room.member"]}}}"#;
    let own = [unbanned.as_str()];
    for (query, in_timeline, in_state) in [
        (&[][..], &own[..], &[][..]),
        (&[after], &own, &own),
        (&[("filter", none)], &[], &own),
        (&[("filter", hidden)], &[], &own),
        (&[("filter", hidden), after], &[], &own),
    ] {
        let query: Vec<_> = query.iter().copied().chain([("since", since.as_str())]).collect();
        let answer = replica.sync(&world, BOB, &query).await;
        let room = &answer["rooms"]["leave"][ROOM];
        let state = if query.contains(&after) { &room["state_after"] } else { &room["state"] };
        assert_eq!((&ids(&room["timeline"])[..], &ids(state)[..]), (in_timeline, in_state), "{query:?}");
    }
}

#[tokio::test]
async fn who_leaves_hears_of_it_once_and_nothing_after() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = std::sync::Arc::new(world.replica().await);
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let waiting = tokio::spawn({
        let (replica, world, since) = (replica.clone(), world.clone(), since.clone());
        async move { replica.sync(&world, BOB, &[("since", &since), ("timeout", "10000")]).await }
    });
    replica.waits(BOB).await;
    let kicked = world.member(ROOM, ALICE, BOB, "leave").await;
    let answer = waiting.await.unwrap();
    let room = &answer["rooms"]["leave"][ROOM];
    assert_eq!(ids(&room["timeline"]), [kicked.as_str()]);
    assert_eq!(answer["rooms"]["join"], json!({}));
    world.say(ROOM, ALICE, "unseen").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &token(&answer))]).await;
    assert_eq!(answer["rooms"]["leave"], json!({}));
    // A replica that knows nothing of it tells the same.
    let fresh = world.replica().await.sync(&world, BOB, &[("since", &since)]).await;
    assert_eq!(ids(&fresh["rooms"]["leave"][ROOM]["timeline"]), [kicked.as_str()]);
}

#[tokio::test]
async fn a_room_that_is_forgotten_at_once_is_still_told_as_left() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.member(ROOM, BOB, BOB, "join").await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    let left = world.member(ROOM, BOB, BOB, "leave").await;
    world.forget(ROOM, BOB).await;
    world.say(ROOM, ALICE, "unseen").await;
    replica.settle(&world).await;
    for replica in [&replica, &world.replica().await] {
        let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
        assert_eq!(ids(&answer["rooms"]["leave"][ROOM]["timeline"]), [left.as_str()]);
        // But only once.
        let answer = replica.sync(&world, BOB, &[("since", &token(&answer))]).await;
        assert_eq!(answer["rooms"]["leave"], json!({}));
    }
}

#[tokio::test]
async fn lazily_loaded_members_come_when_they_speak_and_only_once() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "n"})).await;
    for user in [BOB, CAROL] {
        world.member(ROOM, user, user, "join").await;
    }
    for number in 0..12 {
        world.say(ROOM, ALICE, &number.to_string()).await;
    }
    let replica = world.replica().await;
    let filter = ("filter", r#"{"room":{"state":{"lazy_load_members":true}}}"#);
    let answer = replica.sync(&world, BOB, &[filter]).await;
    let members = |answer: &serde_json::Value| {
        let mut keys = keys(&answer["rooms"]["join"][ROOM]["state"]);
        keys.retain(|key| key.starts_with("m.room.member"));
        keys
    };
    let (alice, bob, carol) =
        (format!("m.room.member|{ALICE}"), format!("m.room.member|{BOB}"), format!("m.room.member|{CAROL}"));
    assert_eq!(members(&answer), [alice, bob]);
    let since = token(&answer);
    world.say(ROOM, CAROL, "hi").await;
    world.say(ROOM, ALICE, "hi").await;
    replica.settle(&world).await;
    // An answer that was lost is given again as it was.
    let first = replica.sync(&world, BOB, &[filter, ("since", &since)]).await;
    let second = replica.sync(&world, BOB, &[filter, ("since", &since)]).await;
    assert_eq!(members(&second), members(&first));
    assert!(members(&second).contains(&carol));
    world.say(ROOM, CAROL, "hi again").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[filter, ("since", &token(&second))]).await;
    assert_eq!(members(&answer), Vec::<String>::new());
    let redundant =
        ("filter", r#"{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true}}}"#);
    let answer = replica.sync(&world, BOB, &[redundant, ("since", &token(&second))]).await;
    assert_eq!(members(&answer), [carol]);
}

#[tokio::test]
async fn all_of_the_state_is_told_lazily_with_the_members_of_a_gap() {
    let world = World::new();
    world.create(ROOM, ALICE).await;
    world.set(ROOM, ALICE, "m.room.name", "", json!({"name": "n"})).await;
    for user in [BOB, CAROL, DAVE] {
        world.member(ROOM, user, user, "join").await;
    }
    let replica = world.replica().await;
    let filter = |redundant: bool| {
        let state = json!({"lazy_load_members": true, "include_redundant_members": redundant});
        json!({"room": {"state": state, "timeline": {"limit": 2}}}).to_string()
    };
    let since = token(&replica.sync(&world, BOB, &[("filter", &filter(false))]).await);
    world.member(ROOM, CAROL, CAROL, "leave").await;
    for _ in 0..3 {
        world.say(ROOM, ALICE, "hi").await;
    }
    replica.settle(&world).await;
    let member = |user: &str| format!("m.room.member|{user}");
    let members = |answer: &serde_json::Value, part: &str| {
        let mut keys = keys(&answer["rooms"]["join"][ROOM][part]);
        keys.retain(|key| key.starts_with("m.room.member"));
        keys
    };
    // One that remembers what happened, and one that knows nothing of it.
    for replica in [&replica, &world.replica().await] {
        for redundant in [false, true] {
            let filter = filter(redundant);
            let mut query = vec![("filter", filter.as_str()), ("since", &since), ("full_state", "true")];
            // Those who speak, who asks, and who left in the gap; not Dave, of whom there is nothing to tell.
            let wanted = [member(ALICE), member(BOB), member(CAROL)];
            let answer = replica.sync(&world, BOB, &query).await;
            assert_eq!(answer["rooms"]["join"][ROOM]["timeline"]["limited"], true);
            assert_eq!(members(&answer, "state"), wanted, "{redundant}");
            let everything = keys(&answer["rooms"]["join"][ROOM]["state"]);
            assert!(everything.contains(&"m.room.name|".to_owned()), "{everything:?}");
            query.push(("use_state_after", "true"));
            assert_eq!(
                members(&replica.sync(&world, BOB, &query).await, "state_after"),
                wanted,
                "{redundant}"
            );
        }
    }
}
