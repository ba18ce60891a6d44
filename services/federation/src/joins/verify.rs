//! The answer to a join: the state of a room before it, as a server tells it, checked before anything of it is kept.
//!
//! Every event is checked as any other: form, hash, signatures. What fails is left out, with all that it authorizes: rooms
//! hold events of servers whose keys nobody has any more. Without the events that the room stands on, or without too many
//! others, there is no join. The rules are the room server's to check.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use plexus_events::RoomRules;
use plexus_s2s::now_ms;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, state_res::Event as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{info, warn};

use super::failure::Failure;
use crate::{
    Federation,
    checked::{self, CheckedPdu, ReadPdu},
};

/// Most events of an answer.
const MAX_EVENTS: usize = 500_000;
/// How long keys are fetched ahead, and how long the rest of them is waited for.
const KEY_PATIENCE: Duration = Duration::from_secs(10);
/// State events that may be lacking: some, or one of so many.
const MAY_LACK: usize = 20;
const MAY_LACK_ONE_IN: usize = 20;
/// Without these, if the server tells of them, nothing in the room can be judged.
const ESSENTIAL: [&str; 3] = ["m.room.create", "m.room.power_levels", "m.room.join_rules"];

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    state: Vec<&'a RawValue>,
    #[serde(borrow)]
    auth_chain: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(default)]
    members_omitted: bool,
}

/// A state, checked.
pub(crate) struct VerifiedJoin {
    /// The join event, with the signature of who vouches for it.
    pub(crate) join: CheckedPdu,
    /// Events of the state and its auth chain: the create event first, and whatever is cited before what cites it.
    pub(crate) events: Vec<Entry>,
}

/// An event of a state or its auth chain.
pub(crate) struct Entry {
    pub(crate) id: OwnedEventId,
    pub(crate) json: Bytes,
    pub(crate) is_state: bool,
}

/// What was read of an answer.
struct Parsed {
    events: Vec<ReadPdu>,
    state: HashSet<OwnedEventId>,
    /// State events that were told, whether they can be read or not.
    state_count: usize,
    essential: HashSet<OwnedEventId>,
    join: Option<ReadPdu>,
}

fn bad(why: impl Into<String>) -> Failure {
    Failure::Answer(why.into())
}

/// Checks an answer. `join`: the event that was sent; `must_be_told`: whether the server has to add a signature to it.
pub(crate) async fn verify(
    federation: &Federation,
    room_id: &RoomId,
    rules: &'static RoomRules,
    join: &ReadPdu,
    must_be_told: bool,
    body: Bytes,
) -> Result<VerifiedJoin, Failure> {
    let room: OwnedRoomId = room_id.to_owned();
    let parsed = tokio::task::spawn_blocking(move || parse(&body, &room, rules)).await;
    let Parsed { events, state, state_count, essential, join: told_join } =
        parsed.map_err(|_| bad("it could not be read"))??;
    let join_id = join.event_id().to_owned();
    let join = match told_join {
        Some(told) if told.event_id() == join_id => told,
        Some(_) => return Err(bad("it is about another join")),
        None if must_be_told => return Err(bad("nobody vouches for the join")),
        None => join.clone(),
    };

    let wanted = events.iter().flat_map(ReadPdu::wanted_keys).collect();
    federation.keys.prefetch(wanted, Instant::now() + KEY_PATIENCE).await;
    let checked = checked::verify(&federation.keys, vec![join], KEY_PATIENCE).await.pop();
    let join = match checked {
        Some((_, Ok(join))) => join,
        Some((_, Err(error))) => return Err(bad(format!("the join itself: {error}"))),
        None => return Err(bad("the join itself cannot be checked")),
    };
    let mut good: HashMap<OwnedEventId, CheckedPdu> = HashMap::with_capacity(events.len());
    for (id, checked) in checked::verify(&federation.keys, events, KEY_PATIENCE).await {
        match checked {
            Ok(event) => drop(good.insert(id, event)),
            Err(error) => info!(room.id = %room_id, event.id = %id, %error, "an event of a join is left out"),
        }
    }
    let order = in_order(&good);
    check(&good, &order, (&state, state_count, &essential), &join)?;
    let entry = |id: &OwnedEventId| {
        let json = Bytes::copy_from_slice(good.get(id)?.json());
        Some(Entry { id: id.clone(), json, is_state: state.contains(id) })
    };
    let events: Vec<Entry> = order.iter().filter_map(entry).collect();
    info!(room.id = %room_id, events = events.len(), state = state_count, at = now_ms(), "the answer to a join is good");
    Ok(VerifiedJoin { join, events })
}

/// Reads an answer. What cannot be read is left out, and missed.
fn parse(body: &[u8], room_id: &RoomId, rules: &'static RoomRules) -> Result<Parsed, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    if answer.members_omitted {
        return Err(bad("members are left out, which was not asked"));
    }
    if answer.state.len() + answer.auth_chain.len() > MAX_EVENTS {
        return Err(bad("there are too many events"));
    }
    let read = |raw: &RawValue| checked::read(raw.get().as_bytes(), room_id, rules);
    let (mut events, mut known) = (Vec::new(), HashSet::new());
    let (mut state, mut essential) = (HashSet::new(), HashSet::new());
    for raw in &answer.state {
        let is_essential = is_essential(raw);
        match read(raw) {
            Ok(event) => {
                let id = event.event_id().to_owned();
                if is_essential {
                    essential.insert(id.clone());
                }
                state.insert(id.clone());
                if known.insert(id) {
                    events.push(event);
                }
            }
            Err(error) if is_essential => return Err(bad(format!("the room cannot be judged: {error}"))),
            Err(error) => info!(room.id = %room_id, %error, "an event of a join is left out"),
        }
    }
    for raw in &answer.auth_chain {
        if let Ok(event) = read(raw)
            && known.insert(event.event_id().to_owned())
        {
            events.push(event);
        }
    }
    let join = answer.event.map(read).transpose().map_err(|error| bad(error.to_string()))?;
    Ok(Parsed { events, state, state_count: answer.state.len(), essential, join })
}

fn is_essential(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        state_key: std::borrow::Cow<'a, str>,
    }
    let kind: Option<Kind<'_>> = serde_json::from_str(raw.get()).ok();
    kind.is_some_and(|it| it.state_key.is_empty() && ESSENTIAL.contains(&&*it.kind))
}

/// Orders events so that what is cited as authorizing comes first; those that cite what is not there are left out.
fn in_order(good: &HashMap<OwnedEventId, CheckedPdu>) -> Vec<OwnedEventId> {
    let mut waiting: HashMap<&EventId, usize> = HashMap::with_capacity(good.len());
    let mut cited_by: HashMap<&EventId, Vec<&EventId>> = HashMap::new();
    let mut ready: Vec<&EventId> = Vec::new();
    for (id, event) in good {
        let cited: HashSet<&OwnedEventId> = event.pdu().auth_event_ids().iter().collect();
        if cited.is_empty() {
            ready.push(id);
        } else {
            waiting.insert(id, cited.len());
        }
        for cited in cited {
            cited_by.entry(cited).or_default().push(id);
        }
    }
    // The create event goes first, also where others need not cite it.
    let is_create = |id: &&EventId| good.get(*id).is_some_and(|event| is(event, "m.room.create", ""));
    ready.sort_by_key(|id| is_create(id));
    let mut order = Vec::with_capacity(good.len());
    while let Some(id) = ready.pop() {
        order.push(id.to_owned());
        for citing in cited_by.get(id).into_iter().flatten() {
            let Some(left) = waiting.get_mut(citing) else { continue };
            *left -= 1;
            if *left == 0 {
                ready.push(citing);
            }
        }
    }
    order
}

fn is(event: &CheckedPdu, kind: &str, state_key: &str) -> bool {
    let pdu = event.pdu();
    pdu.state_key() == Some(state_key) && pdu.event_type().to_string() == kind
}

/// Checks that what is left of a state is one.
fn check(
    good: &HashMap<OwnedEventId, CheckedPdu>,
    order: &[OwnedEventId],
    (state, state_count, essential): (&HashSet<OwnedEventId>, usize, &HashSet<OwnedEventId>),
    join: &CheckedPdu,
) -> Result<(), Failure> {
    let kept: HashSet<&OwnedEventId> = order.iter().collect();
    if let Some(lost) = essential.iter().find(|id| !kept.contains(id)) {
        return Err(bad(format!("the room cannot be judged without {lost}")));
    }
    let first = order.first().and_then(|id| good.get(id));
    if !first.is_some_and(|event| is(event, "m.room.create", "")) {
        return Err(bad("there is no create event"));
    }
    if let Some(lost) = join.pdu().auth_event_ids().iter().find(|id| !kept.contains(id)) {
        return Err(bad(format!("{lost} is lacking, which authorizes the join")));
    }
    let mut keys = HashSet::new();
    let mut left = 0;
    for event in order.iter().filter(|id| state.contains(*id)).filter_map(|id| good.get(id)) {
        let pdu = event.pdu();
        let Some(state_key) = pdu.state_key() else { return Err(bad("the state holds a message")) };
        if !keys.insert((pdu.event_type().to_string(), state_key)) {
            return Err(bad("the state has two events for one key"));
        }
        left += 1;
    }
    let lost = state_count.saturating_sub(left);
    if lost > 0 {
        warn!(room.id = %join.room_id(), lost, of = state_count, "a room is joined without some of its state");
    }
    if lost > (state_count / MAY_LACK_ONE_IN).max(MAY_LACK) {
        return Err(bad(format!("{lost} events of its state cannot be verified")));
    }
    Ok(())
}
