//! Tests the fetcher on given answers, without asking anybody. How it asks is tested by the conformance suite, which is the
//! other server there.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::OwnedEventId;
use serde_json::json;

use super::{
    gap::Walk,
    order::{By, sorted},
    state,
};
use crate::checked::{CheckedPdu, tests::signed};

/// An event of a depth that cites others.
async fn event(depth: u64, prevs: &[&CheckedPdu], auth: &[&CheckedPdu]) -> CheckedPdu {
    let ids =
        |events: &[&CheckedPdu]| events.iter().map(|event| event.event_id().to_string()).collect::<Vec<_>>();
    let (prevs, auth) = (ids(prevs), ids(auth));
    signed(|event| {
        event["depth"] = json!(depth);
        event["prev_events"] = json!(prevs);
        event["auth_events"] = json!(auth);
    })
    .await
}

fn id(event: &CheckedPdu) -> OwnedEventId {
    event.event_id().to_owned()
}

fn ids<'e>(events: impl IntoIterator<Item = &'e CheckedPdu>) -> Vec<OwnedEventId> {
    events.into_iter().map(id).collect()
}

#[tokio::test]
async fn what_is_cited_goes_first_whatever_the_depth_says() {
    let first = event(9, &[], &[]).await;
    let second = event(1, &[&first], &[]).await;
    let third = event(5, &[&first, &second], &[&second]).await;
    let other = event(3, &[], &[]).await;
    let all = vec![third.clone(), other.clone(), second.clone(), first.clone()];
    assert_eq!(ids(&sorted(all.clone(), By::Graph)), ids([&other, &first, &second, &third]));
    // By auth events, only the third follows on the second.
    assert_eq!(ids(&sorted(all, By::Auth)), ids([&second, &other, &third, &first]));
}

#[tokio::test]
async fn a_walk_takes_what_leads_on_and_nothing_else() {
    let known = event(1, &[], &[]).await;
    let a = event(2, &[&known], &[]).await;
    let b = event(3, &[&a], &[]).await;
    let c = event(4, &[&b], &[]).await;
    let unrelated = event(7, &[&known], &[]).await;
    let placed: HashSet<OwnedEventId> = [id(&known)].into();
    let mut walk = Walk { found: HashMap::new(), wanted: [id(&c)].into() };
    assert!(!walk.take(vec![unrelated.clone(), a.clone()], &placed));
    assert!(walk.take(vec![unrelated, c.clone()], &placed));
    assert_eq!((walk.edge(), walk.wanted.clone()), (vec![id(&c)], BTreeSet::from([id(&b)])));
    assert!(!walk.take(vec![c.clone()], &placed), "it is there already");
    assert!(walk.take(vec![a.clone(), b.clone()], &placed));
    assert!(walk.wanted.is_empty() && walk.edge().is_empty());
    assert_eq!(walk.found.len(), 3);
}

#[tokio::test]
async fn the_state_after_an_event_has_it_in_its_place() {
    let topic = |body: &str| {
        let content = json!({ "topic": body });
        signed(move |event| {
            event["type"] = json!("m.room.topic");
            event["state_key"] = json!("");
            event["content"] = content;
        })
    };
    let (old, new, message) = (topic("old").await, topic("new").await, event(1, &[], &[]).await);
    let events: HashMap<OwnedEventId, CheckedPdu> =
        [&old, &new, &message].into_iter().map(|event| (id(event), event.clone())).collect();
    let other: OwnedEventId = "$known".try_into().unwrap();
    let before: BTreeSet<OwnedEventId> = [id(&old), other.clone()].into();
    let after = |event: &CheckedPdu| {
        let mut state = before.clone();
        state::put(&mut state, &id(event), &events, &HashMap::new());
        state
    };
    assert_eq!(after(&new), [id(&new), other].into());
    assert_eq!(after(&old), before);
    assert_eq!(after(&message), before);
}
