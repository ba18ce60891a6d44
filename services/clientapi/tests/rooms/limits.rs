//! Rate limits that handlers count, because only the body tells what is done.

use plexus_service::config::{RateLimit, RateLimitsConfig};
use serde_json::json;

use crate::fakes::{ROOM, World, assert_error, assert_ok};

const FEW: RateLimit = RateLimit { per_second: 0.001, burst: 3 };

fn world(limits: RateLimitsConfig) -> World {
    let world = World::with_limits(limits);
    world.add_room(ROOM, &[("alice", "join")]);
    world
}

#[tokio::test]
async fn each_invitee_of_a_new_room_counts() {
    let world = world(RateLimitsConfig { invite: FEW, ..RateLimitsConfig::default() });
    let invitees: Vec<_> = (0..3).map(|number| format!("@u{number}:example.org")).collect();
    assert_ok(&world.post("alice", "/createRoom", json!({ "invite": invitees })).await);
    let more = world.post("alice", "/createRoom", json!({ "invite": ["@bob:example.org"] })).await;
    assert_error(&more, 429, "M_LIMIT_EXCEEDED");
    let invite = json!({ "user_id": "@bob:example.org" });
    let more = world.post("alice", &format!("/rooms/{ROOM}/invite"), invite).await;
    assert_error(&more, 429, "M_LIMIT_EXCEEDED");
    // A room without invitees is no invite.
    assert_ok(&world.post("alice", "/createRoom", json!({})).await);
}

#[tokio::test]
async fn member_events_count_as_what_they_do() {
    let one = RateLimit { burst: 1, ..FEW };
    let world = world(RateLimitsConfig { invite: one, join: one, ..RateLimitsConfig::default() });
    let member = |user: &str| format!("/rooms/{ROOM}/state/m.room.member/@{user}:example.org");
    let content = |membership: &str| json!({ "membership": membership });
    assert_ok(&world.put("alice", &member("bob"), content("invite")).await);
    assert_error(&world.put("alice", &member("carol"), content("invite")).await, 429, "M_LIMIT_EXCEEDED");
    let invite = json!({ "user_id": "@carol:example.org" });
    let answer = world.post("alice", &format!("/rooms/{ROOM}/invite"), invite).await;
    assert_error(&answer, 429, "M_LIMIT_EXCEEDED");
    assert_ok(&world.put("bob", &member("bob"), content("join")).await);
    assert_error(&world.put("bob", &member("bob"), content("knock")).await, 429, "M_LIMIT_EXCEEDED");
    assert_error(&world.post("bob", &format!("/join/{ROOM}"), json!({})).await, 429, "M_LIMIT_EXCEEDED");
    // Other changes of a membership are events like others.
    assert_ok(&world.put("alice", &member("bob"), content("leave")).await);
}

#[tokio::test]
async fn nobody_is_flooded_with_invites_by_many() {
    let two = RateLimit { burst: 2, ..FEW };
    let world = world(RateLimitsConfig { invitee: two, ..RateLimitsConfig::default() });
    let invite = json!({ "user_id": "@victim:example.org" });
    for sender in ["alice", "bob"] {
        assert_ok(&world.post(sender, &format!("/rooms/{ROOM}/invite"), invite.clone()).await);
    }
    let answer = world.post("carol", &format!("/rooms/{ROOM}/invite"), invite).await;
    assert_error(&answer, 429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_client_that_begins_reads_all_its_rooms() {
    let world = world(RateLimitsConfig::default());
    for _ in 0..1_000 {
        assert_ok(&world.get("alice", &format!("/rooms/{ROOM}/members")).await);
    }
    let path = format!("/rooms/{ROOM}/state");
    let at_once = futures::future::join_all((0..50).map(|_| world.get("alice", &path))).await;
    at_once.iter().for_each(assert_ok);
}
