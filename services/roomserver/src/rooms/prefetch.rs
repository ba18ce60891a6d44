//! Prefetches the events and state entries that an input will need.
//!
//! The inputs of a batch are applied one after the other, and each would wait for its own round trips to the database.
//! All that they cite, and the state entries by which they are judged, is loaded ahead in a few rounds. Nothing depends on
//! it but time: what was not prefetched is asked for when it is needed.

use plexus_events::{Pdu, auth, receive};
use plexus_proto::log::v1::{
    self, InputRoomEvent, Intent, SnapshotChunk, input_room_event::Body, room_control::Action,
};
use ruma::{EventId, OwnedEventId, OwnedUserId, UserId, events::StateEventType, state_res::Event as _};
use serde::Deserialize;

use super::{
    event::flags,
    load_request::LoadRequest,
    loaded_data::LoadedData,
    relations::Related,
    room::{Inner, Room},
    state::{MEMBER, key_of},
    states::State,
    trie::{Key, Missing, Trie},
};

/// What an input is going to ask for.
#[derive(Debug, Default)]
pub(crate) struct Prefetch {
    events: Vec<Coming>,
    /// Events that a chunk of a snapshot consists of or cites; each of its events is judged by the create event, too.
    of_chunk: Option<Vec<OwnedEventId>>,
}

/// An event that is going to be applied.
#[derive(Debug, Default)]
struct Coming {
    /// Its ID; `None` if it is still to be built.
    id: Option<OwnedEventId>,
    auth_ids: Vec<OwnedEventId>,
    prev_ids: Vec<OwnedEventId>,
    entries: Vec<Entry>,
    /// Whose profile it says.
    profile: Option<OwnedUserId>,
    /// What it relates to.
    related: Option<Related>,
}

/// A state entry: in which trie it is, and where there.
#[derive(Debug)]
struct Entry {
    is_member: bool,
    key: Key,
}

impl Entry {
    fn of(event_type: &str, state_key: &str) -> Self {
        Self { is_member: event_type == MEMBER, key: key_of(event_type, state_key) }
    }
}

/// Looks at an input of a room that is known.
pub(crate) fn prefetch(room: &Room, record: &InputRoomEvent) -> Prefetch {
    let room = &room.inner;
    let events = match &record.body {
        Some(Body::Pdu(pdu)) => finished(room, pdu).into_iter().collect(),
        Some(Body::Pdus(batch)) => batch.pdus.iter().filter_map(|pdu| finished(room, pdu)).collect(),
        Some(Body::Intent(intent)) => vec![intended(room, intent)],
        Some(Body::Control(control)) => match &control.action {
            Some(Action::UpdateProfile(update)) => vec![intended(room, &member_change(&update.user_id))],
            // They are rare.
            _ => Vec::new(),
        },
        Some(Body::Snapshot(chunk)) => {
            return Prefetch { of_chunk: Some(looked_up(chunk)), ..Prefetch::default() };
        }
        Some(Body::Batch(_) | Body::FetchDone(_)) | None => Vec::new(),
    };
    Prefetch { events, of_chunk: None }
}

/// What a chunk looks up, as far as that can be told without hashing its events.
fn looked_up(chunk: &SnapshotChunk) -> Vec<OwnedEventId> {
    #[derive(Deserialize)]
    struct Citing {
        auth_events: Vec<OwnedEventId>,
    }
    let named = chunk.state_event_ids.iter().filter_map(|id| EventId::parse(id).ok());
    let citing = chunk.pdus.iter().filter_map(|json| serde_json::from_slice::<Citing>(json).ok());
    named.chain(citing.flat_map(|citing| citing.auth_events)).collect()
}

/// A finished event. `None` if it cannot be read: it is going to be refused.
fn finished(room: &Inner, pdu: &v1::Pdu) -> Option<Coming> {
    let read = receive::parse(&pdu.json, room.identity.rules).ok()?;
    let id = read.event_id().clone();
    let pdu = read.trust_signatures().ok()?.pdu;
    let mut entries = vec![Entry::of("m.room.history_visibility", "")];
    entries.extend(authorizing(room, &pdu));
    if let Some(state_key) = pdu.state_key() {
        entries.push(Entry::of(&pdu.event_type().to_string(), state_key));
    }
    Some(Coming {
        id: Some(id),
        auth_ids: pdu.auth_event_ids().to_vec(),
        prev_ids: pdu.prev_event_ids().to_vec(),
        entries,
        ..Coming::default()
    })
}

/// The state entries that authorize an event.
fn authorizing(room: &Inner, pdu: &Pdu) -> Vec<Entry> {
    let rules = room.identity.rules;
    let types = auth::auth_types(pdu.event_type(), pdu.sender(), pdu.state_key(), pdu.content(), rules);
    let entry =
        |(event_type, state_key): (StateEventType, String)| Entry::of(&event_type.to_string(), &state_key);
    types.unwrap_or_default().into_iter().map(entry).collect()
}

/// Whether Postgres can look for it.
fn is_storable(user: &OwnedUserId) -> bool {
    !user.as_str().contains('\0')
}

/// A change of a user's own member event.
fn member_change(user: &str) -> Intent {
    Intent {
        sender: user.to_owned(),
        r#type: MEMBER.to_owned(),
        state_key: Some(user.to_owned()),
        with_profile: true,
        ..Intent::default()
    }
}

/// An event that is built here.
fn intended(room: &Inner, intent: &Intent) -> Coming {
    let mut entries: Vec<Entry> = ["m.room.create", "m.room.power_levels", "m.room.history_visibility"]
        .map(|event_type| Entry::of(event_type, ""))
        .into();
    if UserId::parse(&intent.sender).is_ok() {
        entries.push(Entry::of(MEMBER, &intent.sender));
    }
    if let Some(state_key) = &intent.state_key {
        entries.push(Entry::of(&intent.r#type, state_key));
        if intent.r#type == MEMBER {
            entries.push(Entry::of("m.room.join_rules", ""));
        }
    }
    let profile = intent.state_key.as_deref().filter(|_| intent.with_profile);
    let profile = profile.and_then(|user| UserId::parse(user).ok()).filter(is_storable);
    let related = match (&intent.state_key, <&UserId>::try_from(intent.sender.as_str())) {
        (None, Ok(sender)) => Related::prefetched(room.identity.nid, sender, intent),
        _ => None,
    };
    Coming { entries, profile, related, ..Coming::default() }
}

impl Prefetch {
    /// Notes what is lacking as far as can be told now; once that is loaded, there may be more.
    pub(crate) fn note_lacking(&self, room: &Room, loaded: &LoadedData, request: &mut LoadRequest) {
        let room = &room.inner;
        let nid = room.identity.nid;
        if !self.events.is_empty() && room.parked.wants_loading() && !loaded.parked.contains_key(&nid) {
            request.parked.insert(nid);
        }
        if let Some(ids) = &self.of_chunk {
            let lacking = ids.iter().filter(|id| !loaded.events_by_id.contains_key(*id));
            request.event_ids.extend(lacking.cloned());
            let create = room.identity.create_nid;
            if room.state_cache.get(key_of("m.room.create", "")).is_none()
                && !loaded.events.contains_key(&create)
            {
                request.events.insert(create);
            }
        }
        let current = room.state();
        for event in &self.events {
            if let Some(user) = event.profile.as_ref().filter(|user| !loaded.profiles.contains_key(*user)) {
                request.profiles.insert(user.clone());
            }
            if let Some(related) = &event.related {
                related.note_lacking(loaded, request);
            }
            if let Some(id) = &event.id
                && loaded.arrival(id).is_none()
            {
                request.arrivals.insert(id.clone());
            }
            for id in event.id.iter().chain(&event.auth_ids).chain(&event.prev_ids) {
                if !loaded.events_by_id.contains_key(id) {
                    request.event_ids.insert(id.clone());
                }
            }
            note_entries(room, &current, &event.entries, loaded, request);
            for prev in &event.prev_ids {
                let Some(Some(prev)) = loaded.events_by_id.get(prev) else { continue };
                let is_extremity = room.forward_extremities.iter().any(|extremity| extremity.nid == prev.nid);
                let is_alone = room.forward_extremities.len() == 1;
                if prev.room_nid == nid && prev.lacks(flags::OUTLIER) && !(is_extremity && is_alone) {
                    note_entries(room, &State::after(prev), &event.entries, loaded, request);
                }
            }
        }
    }
}

fn note_entries(
    room: &Inner,
    state: &State,
    entries: &[Entry],
    loaded: &LoadedData,
    request: &mut LoadRequest,
) {
    for Entry { is_member, key } in entries {
        let trie: &Trie = if *is_member { &state.members } else { &state.other };
        match trie.get(*key, loaded) {
            Ok(None) => {}
            Ok(Some(event)) => {
                let parsed = room.state_cache.get(*key).and_then(Option::as_ref);
                let is_parsed = parsed.is_some_and(|parsed| parsed.nid == event);
                if !is_parsed && !loaded.events.contains_key(&event) {
                    request.events.insert(event);
                }
            }
            Err(Missing(node)) => request.node(room.identity.nid, node),
        }
    }
}
