use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{Direction, GetEventsRequest, ListTimelineRequest, RoomEvent, TimelineFilter},
};
use serde_json::json;

use super::fixture::{Dice, Fixture, Room, Sent, reason};
use crate::visibility::{HistoryVisibility, Membership, tests::oracle};

pub(super) const USERS: [&str; 5] = [
    "@alice:example.org",
    "@bob:example.org",
    "@carol:example.org",
    "@dave:example.org",
    "@erin:example.org",
];

/// Pages through the whole timeline; checks that pages are no longer than asked for.
async fn page(
    fixture: &Fixture,
    room: &Room,
    viewer: &str,
    direction: Direction,
    limit: u32,
    filter: Option<&TimelineFilter>,
) -> Result<Vec<RoomEvent>, tonic::Status> {
    let mut events = Vec::new();
    let mut from = None;
    loop {
        let request = ListTimelineRequest {
            room_id: room.room_id.clone(),
            viewer: viewer.to_owned(),
            direction: direction.into(),
            from,
            to: None,
            limit,
            filter: filter.cloned(),
        };
        let page = fixture.queries().list_timeline(request).await?.into_inner();
        assert!(page.events.len() <= usize::try_from(limit).unwrap());
        if let Some(from) = from {
            assert_eq!(page.start, from);
        }
        events.extend(page.events);
        let Some(next) = page.next else { return Ok(events) };
        assert_ne!(Some(next), from, "paging goes on");
        from = Some(next);
    }
}

/// What a viewer may see by the rules, and whether they may see the room at all.
pub(super) fn expected(room: &Room, viewer: &str) -> (Vec<Sent>, bool, Option<usize>) {
    let memberships = room
        .log
        .iter()
        .map(|sent| sent.memberships.get(viewer).copied().unwrap_or(Membership::Leave))
        .collect::<Vec<_>>();
    let visible = room.log.iter().enumerate().filter(|(n, sent)| {
        let own = sent.event_type == "m.room.member" && sent.state_key.as_deref() == Some(viewer);
        let before = n.checked_sub(1).map_or(Membership::Leave, |before| memberships[before]);
        let removed = own
            && matches!(memberships[*n], Membership::Leave | Membership::Ban)
            && matches!(before, Membership::Invite | Membership::Knock);
        removed || oracle(&memberships, *n, sent.visibility, own)
    });
    let joined = *memberships.last().unwrap() == Membership::Join;
    let departure = memberships
        .iter()
        .rposition(|membership| *membership == Membership::Join)
        .filter(|_| !joined)
        .map(|last_join| last_join + 1);
    let open = current_visibility(room) == HistoryVisibility::WorldReadable;
    // What was world-readable stays so, until the event that ended it.
    let public = room
        .log
        .iter()
        .rposition(|sent| {
            sent.event_type == "m.room.history_visibility"
                && sent.visibility == HistoryVisibility::WorldReadable
        })
        .filter(|_| !joined);
    let allowed = joined || departure.is_some() || public.is_some();
    (visible.map(|(_, sent)| sent.clone()).collect(), allowed, departure.max(public).filter(|_| !open))
}

/// Whether a viewer may see what the room is like now, or was when they left.
pub(super) fn sees_state(room: &Room, viewer: &str) -> bool {
    let was_there = room.log.iter().any(|sent| sent.memberships.get(viewer) == Some(&Membership::Join));
    was_there || current_visibility(room) == HistoryVisibility::WorldReadable
}

fn current_visibility(room: &Room) -> HistoryVisibility {
    let key = ("m.room.history_visibility".to_owned(), String::new());
    let Some(event_id) = room.last().state.get(&key) else { return HistoryVisibility::Shared };
    let index = room.log.iter().position(|sent| sent.event_id == *event_id).unwrap();
    let previous = room.log[..index].iter().rfind(|sent| sent.event_type == key.0);
    // The event's own column is the more open one of before and after; what follows it tells which.
    match room.log.get(index + 1) {
        Some(next) => next.visibility,
        None => panic!("an event follows every change of visibility, also after {previous:?}"),
    }
}

#[tokio::test]
async fn viewers_see_what_the_rules_allow_in_whatever_pages() {
    let mut fixture = Fixture::start().await;
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let mut room = fixture.room(USERS[0]).await;
        room.member(&mut fixture, USERS[0], "join").await;
        for _ in 0..40 {
            match dice.roll(6) {
                0 => {
                    let value = ["joined", "invited", "shared", "world_readable"][dice.roll(4)];
                    let content = json!({"history_visibility": value});
                    room.state(&mut fixture, USERS[0], "m.room.history_visibility", "", content).await;
                }
                1..=3 => {
                    let membership = ["join", "join", "invite", "knock", "leave", "ban"][dice.roll(6)];
                    // The last of them never comes near the room.
                    let user = USERS[1 + dice.roll(3)];
                    room.member(&mut fixture, user, membership).await;
                }
                _ => {}
            }
            room.message(&mut fixture, USERS[0]).await;
        }
        for viewer in USERS {
            let (visible, allowed, closed_after) = expected(&room, viewer);
            let request = GetEventsRequest {
                event_ids: room.log.iter().map(|sent| sent.event_id.clone()).collect(),
                viewer: viewer.to_owned(),
                room_id: String::new(),
            };
            let found =
                fixture.queries().get_events(request).await.expect("events are read").into_inner().events;
            let ids = |events: &[Sent]| events.iter().map(|sent| sent.event_id.clone()).collect::<Vec<_>>();
            let got =
                |events: &[RoomEvent]| events.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>();
            assert_eq!(got(&found), ids(&visible), "seed {seed}, {viewer}");
            for event in &found {
                let sent = room.log.iter().find(|sent| sent.event_id == event.event_id).unwrap();
                let membership = sent.memberships.get(viewer).copied().unwrap_or(Membership::Leave);
                assert_eq!(event.viewer_membership, membership.as_str());
                assert_eq!(event.seq, sent.seq);
            }
            for limit in [1, 7, 100] {
                let backward = page(&fixture, &room, viewer, Direction::Backward, limit, None).await;
                let forward = page(&fixture, &room, viewer, Direction::Forward, limit, None).await;
                if !allowed {
                    assert_eq!(reason(backward), ErrorReason::Forbidden);
                    assert_eq!(reason(forward), ErrorReason::Forbidden);
                    continue;
                }
                let last = closed_after.map_or(u64::MAX, |departure| room.log[departure].seq);
                let visible = visible.iter().filter(|sent| sent.seq <= last).cloned().collect::<Vec<_>>();
                let mut reversed = got(&backward.expect("pages are read"));
                reversed.reverse();
                // Who has left a room that is open to all begins with their leave, and may go on forward from there.
                let start = reversed.len();
                assert_eq!(reversed, ids(&visible)[..start], "seed {seed}, {viewer}, {limit}");
                assert_eq!(got(&forward.expect("pages are read")), ids(&visible));
            }
        }
    }
}

#[tokio::test]
async fn filters_give_each_event_once_in_both_directions() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(USERS[0]).await;
    let mut dice = Dice::new(7);
    for _ in 0..400 {
        let sender = USERS[dice.roll(3)];
        let event_type =
            ["m.room.message", "m.reaction", "org.example.rare"][[0, 0, 0, 0, 0, 1, 1, 2][dice.roll(8)]];
        let content = if dice.roll(10) == 0 { json!({"url": "mxc://a/b"}) } else { json!({"body": "x"}) };
        room.send(&mut fixture, sender, event_type, None, content).await;
    }
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let filters = [
        TimelineFilter { types: strings(&["org.*"]), has_types: true, ..TimelineFilter::default() },
        TimelineFilter { not_types: strings(&["m.room.*"]), ..TimelineFilter::default() },
        TimelineFilter { senders: strings(&[USERS[1]]), has_senders: true, ..TimelineFilter::default() },
        TimelineFilter { has_senders: true, ..TimelineFilter::default() },
        TimelineFilter { not_senders: strings(&USERS[..2]), ..TimelineFilter::default() },
        TimelineFilter { contains_url: Some(true), ..TimelineFilter::default() },
        TimelineFilter {
            contains_url: Some(false),
            not_types: strings(&["m.reaction"]),
            ..TimelineFilter::default()
        },
        TimelineFilter { types: strings(&["no.such"]), has_types: true, ..TimelineFilter::default() },
    ];
    for filter in &filters {
        let everything =
            page(&fixture, &room, "", Direction::Forward, 1000, None).await.expect("pages are read");
        let wanted = everything
            .iter()
            .filter(|event| {
                let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
                let (kind, sender) = (json["type"].as_str().unwrap(), json["sender"].as_str().unwrap());
                let listed = |list: &[String]| {
                    list.iter().any(|pattern| match pattern.strip_suffix('*') {
                        Some(prefix) => kind.starts_with(prefix),
                        None => kind == pattern,
                    })
                };
                (!filter.has_types || listed(&filter.types))
                    && !listed(&filter.not_types)
                    && (!filter.has_senders || filter.senders.iter().any(|wanted| wanted == sender))
                    && !filter.not_senders.iter().any(|unwanted| unwanted == sender)
                    && filter.contains_url.is_none_or(|url| url == json["content"]["url"].is_string())
            })
            .map(|event| event.event_id.clone())
            .collect::<Vec<_>>();
        for limit in [1, 10, 1000] {
            let forward = page(&fixture, &room, "", Direction::Forward, limit, Some(filter)).await.unwrap();
            let mut backward =
                page(&fixture, &room, "", Direction::Backward, limit, Some(filter)).await.unwrap();
            backward.reverse();
            assert_eq!(
                forward.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>(),
                wanted,
                "{filter:?}"
            );
            assert_eq!(forward, backward);
        }
    }
}

#[tokio::test]
async fn positions_bound_a_page() {
    let mut fixture = Fixture::start().await;
    let mut room = fixture.room(USERS[0]).await;
    for _ in 0..9 {
        room.message(&mut fixture, USERS[0]).await;
    }
    let seqs = room.log.iter().map(|sent| sent.seq.cast_signed()).collect::<Vec<_>>();
    let list = async |direction: Direction, from: Option<i64>, to: Option<i64>| {
        let request = ListTimelineRequest {
            room_id: room.room_id.clone(),
            direction: direction.into(),
            from,
            to,
            limit: 100,
            ..ListTimelineRequest::default()
        };
        let page = fixture.queries().list_timeline(request).await.expect("page is read").into_inner();
        assert_eq!(page.next, None);
        (page.start, page.events.into_iter().map(|event| event.position).collect::<Vec<_>>())
    };
    let reversed = |seqs: &[i64]| seqs.iter().rev().copied().collect::<Vec<_>>();
    assert_eq!(
        list(Direction::Backward, Some(seqs[5]), Some(seqs[2])).await,
        (seqs[5], reversed(&seqs[3..=5]))
    );
    assert_eq!(list(Direction::Forward, Some(seqs[2]), Some(seqs[5])).await, (seqs[2], seqs[3..=5].to_vec()));
    assert_eq!(list(Direction::Backward, None, None).await, (seqs[9], reversed(&seqs)));
    assert_eq!(list(Direction::Forward, None, None).await, (0, seqs.clone()));
    assert_eq!(list(Direction::Forward, Some(i64::MAX), None).await, (i64::MAX, vec![]));
    assert_eq!(list(Direction::Backward, Some(0), None).await, (0, vec![]));
}
