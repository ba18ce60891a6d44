//! Rooms that this server is not in.

use plexus_proto::log::v1::OutOfBandMembership;
use serde_json::json;

use super::world::{World, token};

const BOB: &str = "@bob:example.org";
const ROOM: &str = "!far:other.test";
const INVITER: &str = "@inviter:other.test";

fn told(membership: &str, sender: &str, event_id: &str) -> OutOfBandMembership {
    let event = json!({
        "type": "m.room.member", "state_key": BOB, "sender": sender, "room_id": ROOM, "origin_server_ts": 1,
        "content": { "membership": membership }, "unsigned": {},
    });
    let name =
        json!([{ "type": "m.room.name", "state_key": "", "sender": INVITER, "content": { "name": "Far" } }]);
    OutOfBandMembership {
        room_id: ROOM.to_owned(),
        membership: membership.to_owned(),
        event: event.to_string().into(),
        event_id: event_id.to_owned(),
        sender: sender.to_owned(),
        origin: "other.test".to_owned(),
        room_version: "11".to_owned(),
        stripped_state: name.to_string().into(),
        seq: 0,
    }
}

#[tokio::test]
async fn invites_to_rooms_elsewhere_are_told_and_how_they_end() {
    let world = World::new();
    let replica = world.replica().await;
    let first = token(&replica.sync(&world, BOB, &[]).await);
    world.tell_out_of_band(BOB, told("invite", INVITER, "$invite")).await;
    replica.settle(&world).await;
    let mut second = String::new();
    // Also by a process that has not seen the record.
    for replica in [&replica, &world.replica().await] {
        for query in [&[][..], &[("since", first.as_str())]] {
            let answer = replica.sync(&world, BOB, query).await;
            let events = &answer["rooms"]["invite"][ROOM]["invite_state"]["events"];
            assert_eq!(events[0]["content"]["name"], "Far", "{answer}");
            let own = json!({
                "type": "m.room.member", "state_key": BOB, "sender": INVITER,
                "content": { "membership": "invite" },
            });
            assert_eq!(events[1], own, "{answer}");
            second = token(&answer);
        }
    }
    assert_eq!(replica.sync(&world, BOB, &[("since", &second)]).await["rooms"]["invite"], json!({}));

    world.tell_out_of_band(BOB, told("leave", BOB, "$leave")).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &second)]).await;
    let timeline = &answer["rooms"]["leave"][ROOM]["timeline"]["events"];
    assert_eq!(timeline[0]["event_id"], "$leave", "{answer}");
    let answer = replica.sync(&world, BOB, &[]).await;
    assert_eq!((&answer["rooms"]["invite"], &answer["rooms"]["leave"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn knocks_are_told_and_what_the_room_tells_itself_counts() {
    let world = World::new();
    let replica = world.replica().await;
    let since = token(&replica.sync(&world, BOB, &[]).await);
    world.tell_out_of_band(BOB, told("knock", BOB, "$knock")).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    let events = &answer["rooms"]["knock"][ROOM]["knock_state"]["events"];
    assert_eq!(events[1]["content"]["membership"], "knock", "{answer}");
    // The user came in, and this server with them.
    world.create(ROOM, INVITER).await;
    world.member(ROOM, BOB, BOB, "join").await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    assert!(answer["rooms"]["join"][ROOM].is_object(), "{answer}");
    assert_eq!(answer["rooms"]["knock"], json!({}));
    world.tell_out_of_band(BOB, OutOfBandMembership { room_id: ROOM.to_owned(), ..Default::default() }).await;
    replica.settle(&world).await;
    let answer = replica.sync(&world, BOB, &[("since", &since)]).await;
    assert!(answer["rooms"]["join"][ROOM].is_object(), "{answer}");
    assert_eq!((&answer["rooms"]["knock"], &answer["rooms"]["leave"]), (&json!({}), &json!({})));
}
