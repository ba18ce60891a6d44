//! The event graph as other servers may see it.

use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{CheckVisibilityRequest, check_visibility_request::Reader},
};
use serde_json::json;

use super::fixture::{Dice, Fixture, Room, Sent, reason};
use crate::visibility::{HistoryVisibility, Membership};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:b.example";
const REMOTE: [&str; 4] = [BOB, "@bea:b.example", "@carl:c.example", "@otto:other.b.example"];
const SERVERS: [&str; 6] =
    ["b.example", "c.example", "other.b.example", "example.org", "nobody.example", "example"];

/// The rule for servers (server-server API, "Backfilling and retrieving missing events"), told naively: one of its users
/// could see the event in the state before it or after it, or it is about one of them.
fn server_sees(sent: &Sent, server: &str) -> bool {
    let is_of_server = |user: &str| user.split_once(':').is_some_and(|(_, name)| name == server);
    let about_one = sent.event_type == "m.room.member" && sent.state_key.as_deref().is_some_and(is_of_server);
    let mut of_server =
        sent.memberships.iter().filter(|(user, _)| is_of_server(user)).map(|(_, membership)| *membership);
    about_one
        || match sent.visibility {
            HistoryVisibility::Shared | HistoryVisibility::WorldReadable => true,
            HistoryVisibility::Invited => {
                of_server.any(|membership| matches!(membership, Membership::Join | Membership::Invite))
            }
            HistoryVisibility::Joined => of_server.any(|membership| membership == Membership::Join),
        }
}

async fn random_history(fixture: &mut Fixture, seed: u64) -> Room {
    let mut dice = Dice::new(seed);
    let mut room = fixture.room(ALICE).await;
    room.member(fixture, ALICE, "join").await;
    for _ in 0..40 {
        match dice.roll(6) {
            0 => {
                let value = ["joined", "invited", "shared", "world_readable"][dice.roll(4)];
                let content = json!({"history_visibility": value});
                room.state(fixture, ALICE, "m.room.history_visibility", "", content).await;
            }
            1..=3 => {
                let membership = ["join", "join", "invite", "knock", "leave", "ban"][dice.roll(6)];
                room.member(fixture, REMOTE[dice.roll(REMOTE.len())], membership).await;
            }
            _ => {
                room.message(fixture, ALICE).await;
            }
        }
    }
    room
}

#[tokio::test]
async fn servers_see_what_their_users_may() {
    let mut fixture = Fixture::start().await;
    let (mut seen, mut hidden) = (0, 0);
    for seed in 0..8 {
        let room = random_history(&mut fixture, seed).await;
        for server in SERVERS {
            let request = CheckVisibilityRequest {
                room_id: room.room_id.clone(),
                event_ids: room.log.iter().map(|sent| sent.event_id.clone()).collect(),
                reader: Some(Reader::Server(server.to_owned())),
            };
            let answer = fixture.graph().check_visibility(request).await.expect("answers").into_inner();
            assert_eq!(answer.events.len(), room.log.len());
            for (told, sent) in answer.events.iter().zip(&room.log) {
                assert_eq!(told.event_id, sent.event_id);
                let expected = server_sees(sent, server);
                assert_eq!(told.visible, expected, "{server}, seed {seed}: {sent:?}");
                *(if expected { &mut seen } else { &mut hidden }) += 1;
            }
        }
    }
    assert!(seen > 300 && hidden > 300, "{seen} seen, {hidden} hidden: the histories prove little");
}

#[tokio::test]
async fn visibility_is_asked_for_with_care() {
    let mut fixture = Fixture::start().await;
    let room = fixture.room(ALICE).await;
    let ask = |reader: Option<Reader>, event_ids: Vec<String>, room_id: &str| CheckVisibilityRequest {
        room_id: room_id.to_owned(),
        event_ids,
        reader,
    };
    let server = || Some(Reader::Server("b.example".to_owned()));
    let mut client = fixture.graph();
    let known = room.last().event_id.clone();
    // What is not known is left out.
    let request = ask(server(), vec!["$none".to_owned(), known.clone()], &room.room_id);
    let told = client.check_visibility(request).await.expect("answers").into_inner();
    assert_eq!(told.events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), [known.as_str()]);
    let elsewhere = ask(server(), vec![known.clone()], "!none:example.org");
    assert_eq!(reason(client.check_visibility(elsewhere).await), ErrorReason::RoomUnknown);
    for bad in [
        ask(None, vec![known.clone()], &room.room_id),
        ask(server(), vec!["none".to_owned()], &room.room_id),
        ask(server(), vec![known.clone(); 1001], &room.room_id),
        ask(Some(Reader::UserId("alice".to_owned())), vec![known.clone()], &room.room_id),
    ] {
        client.check_visibility(bad).await.expect_err("the question is wrong");
    }
}
