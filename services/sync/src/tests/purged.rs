//! Rooms that an operator has deleted.

use serde_json::Value;

use super::world::{World, ids, token};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const KEPT: &str = "!kept:example.org";
const GONE: &str = "!gone:example.org";

/// Names of the rooms of all sections.
fn rooms(answer: &Value) -> Vec<String> {
    let sections = answer["rooms"].as_object().into_iter().flat_map(|sections| sections.values());
    let mut rooms: Vec<_> =
        sections.flat_map(|section| section.as_object().expect("rooms").keys().cloned()).collect();
    rooms.sort_unstable();
    rooms
}

async fn two_rooms() -> World {
    let world = World::new();
    for room in [KEPT, GONE] {
        world.create(room, ALICE).await;
        world.member(room, BOB, BOB, "join").await;
    }
    world.member(GONE, ALICE, "@carol:example.org", "invite").await;
    world
}

#[tokio::test]
async fn a_purged_room_is_told_to_nobody() {
    let world = two_rooms().await;
    let replica = world.replica().await;
    let before = replica.sync(&world, ALICE, &[]).await;
    assert_eq!(rooms(&before), [GONE, KEPT]);
    let invited = replica.sync(&world, "@carol:example.org", &[]).await;
    assert_eq!(rooms(&invited), [GONE]);
    // In flight: committed after the token, and gone before it is told.
    world.say(GONE, BOB, "never to be read").await;
    world.purge(GONE).await;
    world.say(KEPT, BOB, "hello").await;
    replica.settle(&world).await;
    let next = replica.sync(&world, ALICE, &[("since", &token(&before))]).await;
    assert_eq!(rooms(&next), [KEPT]);
    assert!(!next.to_string().contains("never to be read"));
    for user in [ALICE, BOB] {
        assert_eq!(rooms(&replica.sync(&world, user, &[]).await), [KEPT], "{user} from the start");
        let everything = [("full_state", "true"), ("since", &*token(&before))];
        assert_eq!(rooms(&replica.sync(&world, user, &everything).await), [KEPT], "{user} with full state");
    }
    let carol = "@carol:example.org";
    assert!(rooms(&replica.sync(&world, carol, &[("since", &token(&invited))]).await).is_empty());
    assert!(rooms(&replica.sync(&world, carol, &[]).await).is_empty());
    // A replica that was not there tells the same.
    let other = world.replica().await;
    assert_eq!(rooms(&other.sync(&world, ALICE, &[("since", &token(&before))]).await), [KEPT]);
}

#[tokio::test]
async fn whoever_waits_goes_on_waiting() {
    let world = two_rooms().await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    let waiting = async { replica.sync(&world, ALICE, &[("since", &since), ("timeout", "20000")]).await };
    let events = async {
        replica.waits(ALICE).await;
        world.purge(GONE).await;
        replica.settle(&world).await;
        world.say(KEPT, BOB, "hello").await;
    };
    let (mut answer, ()) = tokio::join!(waiting, events);
    // It may be told at once that there is something, although there is nothing to tell.
    if rooms(&answer).is_empty() {
        answer = replica.sync(&world, ALICE, &[("since", &token(&answer)), ("timeout", "20000")]).await;
    }
    assert_eq!(rooms(&answer), [KEPT]);
}

/// The room comes back, as when its members join it anew over federation: nothing of the old one is mixed in.
#[tokio::test]
async fn a_room_that_comes_back_is_told_from_its_beginning() {
    let world = two_rooms().await;
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, ALICE, &[]).await);
    world.purge(GONE).await;
    world.create(GONE, ALICE).await;
    let said = world.say(GONE, ALICE, "once more").await;
    replica.settle(&world).await;
    let other = world.replica().await;
    for replica in [&replica, &other] {
        let answer = replica.sync(&world, ALICE, &[("since", &since)]).await;
        assert_eq!(rooms(&answer), [GONE]);
        let room = &answer["rooms"]["join"][GONE];
        let told = ids(&room["timeline"]);
        assert_eq!(told.last(), Some(&&*said));
        assert_eq!(told.len() + ids(&room["state"]).len(), 4, "{room}");
        assert_eq!(room["summary"]["m.joined_member_count"], 1);
        assert!(rooms(&replica.sync(&world, BOB, &[]).await).iter().all(|room| room == KEPT));
    }
}
