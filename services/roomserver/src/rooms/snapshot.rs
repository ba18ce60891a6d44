//! Applies state that another server tells: it comes ahead in chunks of outliers, and becomes the state before an event that
//! names it. The tries are built once, with the last chunk or else when that event comes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use plexus_events::{RoomRules, canonical, hash};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
    log::v1::{SnapshotChunk, StateBefore},
};
use ruma::{EventId, OwnedEventId, RoomId, UserId};

use super::{
    event::{StoredEvent, flags},
    facts::is_fact,
    ids::{Counters, EventNid, NodeNid, Token},
    input::{Env, RoomInput},
    loaded_data::LoadedData,
    outcome::{Outcome, accepted},
    receive::{self, Incoming},
    room::{Identity, Inner, Room},
    rows::{SnapshotChunkRow, SnapshotFact, SnapshotMember, SnapshotRows},
    state::{MEMBER, key_of},
    states::{State, parse},
    trie::{Key, NewNodes, Trie},
    work::{Stop, Work, all, bad_state, bytes, invalid},
};
use crate::error_chain::chain;

/// Most events of a chunk.
const MAX_PDUS: usize = 1000;
/// Most bytes of the events of a chunk.
const MAX_BYTES: usize = 512 * 1024;
/// Most state entries of a chunk.
const MAX_ENTRIES: usize = 5000;
/// Most chunks of a snapshot.
const MAX_CHUNKS: u32 = 100_000;
/// Bytes of an encoded entry: what it is, key, event.
const ENTRY_BYTES: usize = 25;
/// In place of the number of a chunk: what all of them come to.
const SUM: i32 = -1;
/// Bytes of an encoded sum: chunks, entries, joined and invited members, both roots.
const SUM_BYTES: usize = 32;

/// What an entry is, as far as its event does not have to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// No member event.
    Other = 0,
    /// A member event of somebody who is joined.
    Join = 1,
    /// A member event of somebody who is invited.
    Invite = 2,
    /// Any other member event.
    Member = 3,
    /// An event that the rules refuse: it is not part of the state here.
    Refused = 4,
}

/// A snapshot, put together.
pub(super) struct RemoteState {
    pub(super) token: Token,
    pub(super) state: State,
    pub(super) joined: i32,
    pub(super) invited: i32,
}

/// Applies the first chunk of a room that is not known: the room begins with it.
pub(super) fn begin(
    chunk: &SnapshotChunk,
    room_id: &RoomId,
    input: &RoomInput,
    loaded: &LoadedData,
    mut counters: Counters,
    env: &Env,
) -> Result<Outcome, Stop> {
    let rules = RoomRules::of(&chunk.room_version)
        .map_err(|error| Stop::Refuse(ErrorReason::UnsupportedRoomVersion, error.to_string()))?;
    let Some(first) = chunk.pdus.first().filter(|_| chunk.index == 0) else {
        return Err(bad_state("the room is not known, and this is not the beginning of a snapshot of it"));
    };
    let create_id = check_create(first, room_id, rules)?;
    let identity = Identity {
        nid: counters.room(),
        room_id: room_id.to_owned(),
        partition: input.partition,
        rules,
        create_nid: counters.event(),
        create_id,
    };
    let room = Room::of(Inner::empty(identity));
    let mut work = Work::new(&room, &input.record, loaded, counters, env);
    work.rows.room_is_new = true;
    work.run(|work| apply(work, chunk))
}

/// Checks that an event is the create event of the room.
fn check_create(json: &[u8], room_id: &RoomId, rules: &RoomRules) -> Result<OwnedEventId, Stop> {
    let bad = |message: String| Stop::Refuse(ErrorReason::InvalidParam, format!("create event: {message}"));
    let event = canonical::parse_object(json).map_err(|error| bad(chain(&error)))?;
    let text = |field: &str| event.get(field).and_then(canonical::Value::as_str);
    if text("type") != Some("m.room.create") || text("state_key") != Some("") {
        return Err(bad("the first event is not one".to_owned()));
    }
    let version = event.get("content").and_then(|content| content.as_object()?.get("room_version")?.as_str());
    if version.unwrap_or("1") != rules.id.as_str() {
        return Err(bad("it names another room version".to_owned()));
    }
    let id = hash::event_id(&event, rules).map_err(|error| bad(error.to_string()))?;
    let fits = if rules.room_id_is_create_hash() {
        id.as_str().strip_prefix('$') == room_id.as_str().strip_prefix('!')
    } else {
        text("room_id") == Some(room_id.as_str())
    };
    if fits { Ok(id) } else { Err(bad("it is of another room".to_owned())) }
}

/// Applies a chunk: its events become outliers, its entries are kept until the snapshot is used.
pub(super) fn apply(work: &mut Work<'_>, chunk: &SnapshotChunk) -> Result<Verdict, Stop> {
    let token = token_of(&chunk.token)?;
    if chunk.pdus.len() > MAX_PDUS || chunk.state_event_ids.len() > MAX_ENTRIES {
        return Err(invalid("the chunk holds too many events"));
    }
    if chunk.pdus.iter().map(bytes::Bytes::len).sum::<usize>() > MAX_BYTES {
        return Err(invalid("the events of the chunk exceed 512 KiB"));
    }
    let index = i32::try_from(chunk.index).ok().filter(|_| chunk.index < MAX_CHUNKS);
    let Some(index) = index else { return Err(invalid("the number of the chunk is out of range")) };
    if chunk.room_version != work.rules().id.as_str() {
        return Err(invalid("the room has another version"));
    }
    let mut incoming = Vec::with_capacity(chunk.pdus.len());
    for json in &chunk.pdus {
        // What is malformed is left out; the snapshot is refused if it is part of the state.
        match receive::read(work, json) {
            Ok(event) => incoming.push(event),
            Err(Stop::Refuse(..)) => {}
            Err(stop) => return Err(stop),
        }
    }
    let ids = chunk.state_event_ids.iter().map(EventId::parse);
    let ids =
        ids.collect::<Result<Vec<_>, _>>().map_err(|_| invalid("`state_event_ids`: not an event ID"))?;
    let mut known = look_up(work, &incoming, &ids)?;
    for event in incoming {
        store(work, &mut known, &event)?;
    }
    if work.rows.room_is_new && !known.contains_key(&work.room.identity.create_id) {
        return Err(invalid("create event: it cannot be stored"));
    }
    let mut encoded = Vec::with_capacity(ids.len() * ENTRY_BYTES);
    let is_incipient = work.room.forward_extremities.is_empty();
    let mut rows =
        SnapshotRows { room_nid: work.room.identity.nid, token, members: Vec::new(), facts: Vec::new() };
    for id in &ids {
        let Some(event) = known.get(id) else {
            return Err(bad_state(&format!("the state event {id} is not known")));
        };
        let event = Arc::clone(event);
        let Some(state_key) = event.state_key.clone() else {
            return Err(bad_state(&format!("{id} is not a state event")));
        };
        let kind = kind_of(&event)?;
        if is_incipient && kind != Kind::Refused {
            note_rows(&mut rows, &event, &state_key)?;
        }
        encoded.push(kind as u8);
        encoded.extend_from_slice(&key_of(&event.event_type, &state_key).0.to_be_bytes());
        encoded.extend_from_slice(&event.nid.0.to_be_bytes());
    }
    work.rows.snapshot_rows = is_incipient.then_some(rows);
    let encoded = bytes(encoded);
    if chunk.last {
        let mut chunks = chunks(work, token)?;
        chunks.insert(index, encoded.clone());
        let in_order = chunks.keys().zip(0_i32..).all(|(chunk, expected)| *chunk == expected);
        if !in_order || chunks.len() != usize::try_from(index).unwrap_or(0) + 1 {
            return Err(bad_state(
                "chunks of the snapshot are missing, or there are more behind the last one",
            ));
        }
        let sum = put_together(work, token, &chunks)?;
        keep(work, token, SUM, bytes(sum.encode()));
    }
    keep(work, token, index, encoded);
    Ok(accepted(None, 0))
}

fn keep(work: &mut Work<'_>, token: Token, chunk: i32, entries: Bytes) {
    work.rows.snapshot_chunks.push(SnapshotChunkRow {
        room_nid: work.room.identity.nid,
        token,
        chunk,
        entries,
        created_ts: work.record.produced_ts,
    });
}

type Known = HashMap<OwnedEventId, Arc<StoredEvent>>;

/// Looks up all events of the chunk, what they cite, and the state events: in one round of loading.
fn look_up(work: &mut Work<'_>, incoming: &[Incoming], ids: &[OwnedEventId]) -> Result<Known, Stop> {
    let mut known = Known::new();
    let room = work.room.identity.nid;
    let of_events =
        incoming.iter().flat_map(|event| std::iter::once(&event.id).chain(event.pdu.auth_event_ids()));
    let wanted: HashSet<&OwnedEventId> = of_events.chain(ids).collect();
    for event in all(wanted.into_iter().map(|id| work.event_by_id(id)))?.into_iter().flatten() {
        if event.room_nid == room {
            known.insert(event.event_id.clone(), event);
        }
    }
    Ok(known)
}

/// Stores an event of a chunk, unless it is known or cites what is not.
fn store(work: &mut Work<'_>, known: &mut Known, event: &Incoming) -> Result<(), Stop> {
    if known.contains_key(&event.id) {
        return Ok(());
    }
    let auth = event.pdu.auth_event_ids().iter().map(|id| known.get(id).map(Arc::clone));
    let Some(auth) = auth.collect::<Option<Vec<_>>>() else { return Ok(()) };
    receive::store_outlier(work, event, &auth)?;
    if let Some(row) = work.rows.events.last() {
        known.insert(event.id.clone(), Arc::clone(&row.event));
    }
    work.note_arrived(&event.id, true)
}

fn kind_of(event: &StoredEvent) -> Result<Kind, Stop> {
    if !event.lacks(flags::REJECTED) {
        return Ok(Kind::Refused);
    }
    if event.event_type != MEMBER {
        return Ok(Kind::Other);
    }
    Ok(match parse(event)?.membership.as_deref() {
        Some("join") => Kind::Join,
        Some("invite") => Kind::Invite,
        Some(_) | None => Kind::Member,
    })
}

/// Notes what a state event tells of members and facts, so that the join does not have to write all of them. Nobody sees
/// it before: the join names the snapshot in the row of the room, and then it counts.
fn note_rows(rows: &mut SnapshotRows, event: &StoredEvent, state_key: &str) -> Result<(), Stop> {
    if is_fact(&event.event_type, state_key) {
        let event_type = event.event_type.clone();
        rows.facts.push(SnapshotFact { event_type, state_key: state_key.to_owned(), nid: event.nid });
    }
    if event.event_type == MEMBER
        && let Ok(user_id) = UserId::parse(state_key)
    {
        let membership = parse(event)?.membership.unwrap_or_default();
        rows.members.push(SnapshotMember { user_id, membership, event_nid: event.nid });
    }
    Ok(())
}

/// What the chunks of a snapshot come to.
struct Sum {
    chunks: u32,
    entries: u32,
    state: RemoteState,
}

impl Sum {
    fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(SUM_BYTES);
        encoded.extend_from_slice(&self.chunks.to_be_bytes());
        encoded.extend_from_slice(&self.entries.to_be_bytes());
        encoded.extend_from_slice(&self.state.joined.to_be_bytes());
        encoded.extend_from_slice(&self.state.invited.to_be_bytes());
        encoded.extend_from_slice(&self.state.state.members.root_column().to_be_bytes());
        encoded.extend_from_slice(&self.state.state.other.root_column().to_be_bytes());
        encoded
    }

    fn decode(token: Token, mut encoded: &[u8]) -> Option<Self> {
        if encoded.len() != SUM_BYTES {
            return None;
        }
        let (chunks, entries) = (encoded.get_u32(), encoded.get_u32());
        let (joined, invited) = (encoded.get_i32(), encoded.get_i32());
        let mut trie = || Trie::stored(NodeNid::from_column(encoded.get_i64()));
        let state = State { members: trie(), other: trie() };
        Some(Self { chunks, entries, state: RemoteState { token, state, joined, invited } })
    }
}

/// The chunks of a snapshot by number.
fn chunks(work: &mut Work<'_>, token: Token) -> Result<BTreeMap<i32, Bytes>, Stop> {
    let name = (work.room.identity.nid, token);
    work.found(work.loaded.snapshots.get(&name).cloned(), |request| {
        request.snapshots.insert(name);
    })
}

/// Finds the state that an event names as the one before it.
pub(super) fn read(work: &mut Work<'_>, named: &StateBefore) -> Result<RemoteState, Stop> {
    let token = token_of(&named.snapshot_token)?;
    let chunks = chunks(work, token)?;
    let sum = match chunks.get(&SUM) {
        Some(sum) => Sum::decode(token, sum)
            .ok_or_else(|| Stop::Poison("the sum of the snapshot is damaged".to_owned()))?,
        None => {
            let in_order = chunks.keys().zip(0_i32..).all(|(chunk, index)| *chunk == index);
            if !in_order {
                return Err(bad_state("chunks of the snapshot are missing"));
            }
            put_together(work, token, &chunks)?
        }
    };
    if sum.chunks != named.chunks {
        return Err(bad_state("chunks of the snapshot are missing, or there are more than were announced"));
    }
    if sum.entries != named.events {
        return Err(bad_state("the snapshot has another number of events than was announced"));
    }
    Ok(sum.state)
}

/// Builds the tries of a snapshot.
fn put_together(work: &mut Work<'_>, token: Token, chunks: &BTreeMap<i32, Bytes>) -> Result<Sum, Stop> {
    let (mut members, mut other): (BTreeMap<Key, EventNid>, BTreeMap<Key, EventNid>) = Default::default();
    let (mut entries, mut joined, mut invited) = (0_u32, 0, 0);
    for mut rest in chunks.values().map(Bytes::as_ref) {
        while rest.len() >= ENTRY_BYTES {
            let (kind, key, nid) = (rest.get_u8(), Key(rest.get_u128()), EventNid(rest.get_i64()));
            entries += 1;
            if kind == Kind::Refused as u8 {
                continue;
            }
            joined += i32::from(kind == Kind::Join as u8);
            invited += i32::from(kind == Kind::Invite as u8);
            let entries = if kind == Kind::Other as u8 { &mut other } else { &mut members };
            if entries.insert(key, nid).is_some() {
                return Err(bad_state("the snapshot has two events for one key"));
            }
        }
    }
    let mut new = NewNodes::new(&mut work.counters);
    let (members, other) = (Trie::of_entries(&members, &mut new), Trie::of_entries(&other, &mut new));
    let made = new.nodes;
    work.keep_nodes(made);
    let chunks = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    Ok(Sum {
        chunks,
        entries,
        state: RemoteState { token, state: State { members, other }, joined, invited },
    })
}

fn token_of(token: &[u8]) -> Result<Token, Stop> {
    Token::try_from(token).map_err(|_| invalid("the token of the snapshot does not have 16 bytes"))
}
