//! A room held in memory: its events, how they cite each other, and the state after each.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use plexus_events::{Draft, Pdu, RoomRules, auth, canonical, resolve::StateKey};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId,
    events::{StateEventType, TimelineEventType},
    state_res::Event as _,
};
use serde_json::{Value, json, value::RawValue};

/// Number of an event, in order of arrival.
pub type Nid = u32;

/// A whole state.
pub type State = BTreeMap<StateKey, Nid>;

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// As the rules see it.
    pub pdu: Arc<Pdu>,
    /// Canonical JSON, without signatures.
    pub json: Arc<[u8]>,
    /// Events before it.
    pub prev: Vec<Nid>,
    /// Events that authorize it.
    pub auth: Arc<[Nid]>,
    /// Greater than that of each of its auth events.
    pub generation: i32,
    /// State before it.
    pub before: Rc<State>,
    /// State after it.
    pub after: Rc<State>,
}

/// A room.
#[derive(Debug)]
pub struct Room {
    /// Rules of its version.
    pub rules: &'static RoomRules,
    /// Room ID.
    pub room_id: OwnedRoomId,
    /// Events in order of arrival; the first one is the create event.
    pub events: Vec<Event>,
    /// For each event, the state events that cite it.
    pub citing: Vec<Vec<Nid>>,
    /// Number of each event.
    pub numbers: BTreeMap<OwnedEventId, Nid>,
}

/// What somebody wants to send.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Sender.
    pub sender: OwnedUserId,
    /// Type.
    pub event_type: String,
    /// State key.
    pub state_key: Option<String>,
    /// Content.
    pub content: Value,
    /// Claimed time.
    pub origin_server_ts: i64,
}

/// An event that could be added.
#[derive(Debug)]
pub struct Candidate {
    pdu: Pdu,
    json: Vec<u8>,
    prev: Vec<Nid>,
    auth: Vec<Nid>,
    before: Rc<State>,
    /// The rule that the state before it refuses it by.
    pub refused: Option<String>,
}

impl Room {
    /// Opens a room.
    #[must_use]
    pub fn new(
        rules: &'static RoomRules,
        creator: &OwnedUserId,
        additional: &[OwnedUserId],
        name: &str,
        ts: i64,
    ) -> Self {
        let mut content = serde_json::Map::new();
        if rules.room_id_is_create_hash() && !additional.is_empty() {
            content.insert("additional_creators".to_owned(), json!(additional));
        }
        let given: Option<OwnedRoomId> = (!rules.room_id_is_create_hash())
            .then(|| format!("!{name}:{}", creator.server_name()).try_into().expect("a room ID"));
        let (room_id, json) =
            plexus_events::create::unsigned_create_event(&rules.id, creator, given.as_deref(), content, ts)
                .expect("the create event can be built");
        let object = canonical::parse_object(&json).expect("canonical");
        let event_id = plexus_events::hash::event_id(&object, rules).expect("it can be hashed");
        let pdu = Pdu::from_checked(event_id, &json, false).expect("it can be read");
        let mut room =
            Self { rules, room_id, events: Vec::new(), citing: Vec::new(), numbers: BTreeMap::new() };
        let before = Rc::new(State::new());
        room.push(Candidate { pdu, json, prev: Vec::new(), auth: Vec::new(), before, refused: None });
        room
    }

    /// An event.
    #[must_use]
    pub fn event(&self, nid: Nid) -> &Event {
        &self.events[nid as usize]
    }

    /// Number of the newest event.
    #[must_use]
    pub fn last(&self) -> Nid {
        u32::try_from(self.events.len()).expect("few events") - 1
    }

    /// Key of a state event.
    #[must_use]
    pub fn key(&self, nid: Nid) -> StateKey {
        let pdu = &self.event(nid).pdu;
        (pdu.event_type().to_string().into(), pdu.state_key().expect("a state event").to_owned())
    }

    /// Builds an event and checks it by all rules: its auth events are those of `cited`, the state before it is
    /// `before`. `None` if it would be dropped or rejected for its own form or its auth events; an event that only the
    /// state before it refuses says so.
    #[must_use]
    pub fn candidate(
        &self,
        intent: &Intent,
        prev: &[Nid],
        before: &Rc<State>,
        cited: &State,
    ) -> Option<Candidate> {
        let (pdu, json, auth) = self.draft(intent, prev, cited)?;
        if self.numbers.contains_key(pdu.event_id()) {
            return None;
        }
        let by_id = |id: &EventId| self.numbers.get(id).map(|nid| &*self.event(*nid).pdu);
        auth::check_independent(&pdu, self.rules, by_id).ok()?;
        self.check(&pdu, &auth.iter().map(|nid| (self.key(*nid), *nid)).collect()).ok()?;
        let refused = self.check(&pdu, before).err().map(|refused| refused.0);
        Some(Candidate { pdu, json, prev: prev.to_vec(), auth, before: Rc::clone(before), refused })
    }

    /// Builds an event that cites what authorizes it in a state, whether or not that allows it.
    #[must_use]
    pub fn draft(&self, intent: &Intent, prev: &[Nid], cited: &State) -> Option<(Pdu, Vec<u8>, Vec<Nid>)> {
        let text = canonical::parse_object(intent.content.to_string().as_bytes()).ok()?;
        let raw = RawValue::from_string(intent.content.to_string()).ok()?;
        let event_type = TimelineEventType::from(intent.event_type.as_str());
        let keys =
            auth::auth_types(&event_type, &intent.sender, intent.state_key.as_deref(), &raw, self.rules)
                .ok()?;
        let auth: Vec<Nid> = keys.iter().filter_map(|key| cited.get(key)).copied().collect();
        let ids = |nids: &[Nid]| -> Vec<OwnedEventId> {
            nids.iter().map(|nid| self.event(*nid).pdu.event_id().clone()).collect()
        };
        let (prev_ids, auth_ids) = (ids(prev), ids(&auth));
        let depth = prev.iter().map(|nid| self.event(*nid).pdu.depth()).max().unwrap_or(0) + 1;
        let draft = Draft {
            room_id: Some(&self.room_id),
            sender: &intent.sender,
            event_type: &intent.event_type,
            state_key: intent.state_key.as_deref(),
            content: text,
            redacts: None,
            prev_events: &prev_ids,
            auth_events: &auth_ids,
            depth,
            origin_server_ts: intent.origin_server_ts,
        };
        let hashed = draft.hash(self.rules).ok()?;
        let json = hashed.unsigned_json();
        let pdu = Pdu::from_checked(hashed.event_id().to_owned(), &json, false).ok()?;
        Some((pdu, json, auth))
    }

    /// Checks an event against a state.
    ///
    /// # Errors
    ///
    /// Fails with the rule that refuses it.
    pub fn check(&self, pdu: &Pdu, state: &State) -> Result<(), auth::Refused> {
        auth::check_dependent(pdu, self.rules, |event_type, state_key| {
            // In version 12 the create event is found by the room ID, not in the auth events.
            if *event_type == StateEventType::RoomCreate && self.rules.room_id_is_create_hash() {
                return Some(&*self.event(0).pdu);
            }
            state.get(&(event_type.clone(), state_key.to_owned())).map(|nid| &*self.event(*nid).pdu)
        })
    }

    /// Adds an event; one that was refused is stored as rejected.
    pub fn push(&mut self, candidate: Candidate) -> Nid {
        let nid = u32::try_from(self.events.len()).expect("few events");
        let Candidate { mut pdu, json, prev, auth, before, refused } = candidate;
        if refused.is_some() {
            pdu = Pdu::from_checked(pdu.event_id().clone(), &json, true).expect("it was read before");
        }
        let mut after = Rc::clone(&before);
        if let (Some(state_key), None) = (pdu.state_key(), &refused) {
            let key = (pdu.event_type().to_string().into(), state_key.to_owned());
            Rc::make_mut(&mut after).insert(key, nid);
        }
        let generation = auth.iter().map(|nid| self.event(*nid).generation).max().unwrap_or(0) + 1;
        if pdu.state_key().is_some() {
            for cited in &auth {
                self.citing[*cited as usize].push(nid);
            }
        }
        self.citing.push(Vec::new());
        self.numbers.insert(pdu.event_id().clone(), nid);
        let event = Event {
            pdu: Arc::new(pdu),
            json: json.into(),
            prev,
            auth: auth.into(),
            generation,
            before,
            after,
        };
        self.events.push(event);
        nid
    }
}
