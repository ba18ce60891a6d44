//! Rooms in memory: a world that plays the worker and the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use plexus_events::{
    RoomRules, SigningKey,
    create::unsigned_create_event,
    resolve::{Citing, Links},
};
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Verdict, verdict},
    log::v1::{
        AtomicBatch, InputRoomEvent, Intent, RoomControl, input_room_event::Body, output_room_event,
        room_control::Action,
    },
};
use prost::Message as _;
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use super::{
    AliasCounts, AliasTarget, AnnotationKey, Applied, Arrival, Counters, Env, EventNid, EventRow,
    ForwardExtremity, LoadRequest, LoadedData, MemberProfile, Node, NodeNid, Outcome, Output, ParkedEntries,
    ParkedNid, ParkedRow, ReceiptKey, ReceiptRow, Room, RoomInput, RoomNid, RoomParts, RoomRow,
    StateResetRow, StoredEvent, Token, UpgradeRow, apply,
};

mod citing;
mod control;
mod creation;
mod graphs;
mod hostile;
mod invariants;
mod membership;
mod messages;
mod profiles;
mod receipts;
mod received;
mod redactions;
mod relations;
mod replay;
mod upgrades;
mod weight;

pub(super) const ALICE: &str = "@alice:example.org";
pub(super) const BOB: &str = "@bob:example.org";
pub(super) const CAROL: &str = "@carol:example.org";

/// What is expected of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted { event_id: String, seq: u64 },
    Refused(ErrorReason, String),
    Poison(String),
    SoftFailed(String),
    Duplicate { event_id: String, soft_failed: bool },
    Parked(Vec<String>),
    Parts(Vec<Answer>),
}

impl Answer {
    #[track_caller]
    pub(super) fn event_id(&self) -> String {
        match self {
            Self::Accepted { event_id, .. } => event_id.clone(),
            other => panic!("not accepted: {other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn refused(&self) -> ErrorReason {
        match self {
            Self::Refused(reason, message) => {
                assert!(!message.is_empty());
                *reason
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// The tables, as far as `apply` looks at them.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) rooms: HashMap<OwnedRoomId, RoomRow>,
    pub(super) events: HashMap<EventNid, EventRow>,
    pub(super) nodes: HashMap<NodeNid, bytes::Bytes>,
    pub(super) aliases: HashMap<OwnedRoomAliasId, AliasTarget>,
    pub(super) members: BTreeMap<(OwnedRoomId, OwnedUserId), (String, bool)>,
    pub(super) redactions: Vec<(OwnedEventId, bool)>,
    pub(super) receipts: HashMap<ReceiptKey, ReceiptRow>,
    pub(super) pending: Vec<(OwnedEventId, EventNid)>,
    pub(super) parked: BTreeMap<ParkedNid, ParkedRow>,
    pub(super) gaps: Vec<(OwnedEventId, EventNid)>,
    pub(super) chunks: BTreeMap<(RoomNid, Token, i32), bytes::Bytes>,
    /// What snapshots tell of members, by the room and the snapshot.
    pub(super) told: BTreeMap<(OwnedRoomId, Token), BTreeMap<OwnedUserId, String>>,
    pub(super) decisions: HashMap<OwnedEventId, (&'static str, String)>,
    pub(super) room_states: BTreeMap<i64, (i64, i64)>,
    pub(super) resets: Vec<StateResetRow>,
    pub(super) profiles: HashMap<OwnedUserId, MemberProfile>,
    /// By room and user: the version of the profile that the member event has.
    pub(super) profile_marks: BTreeMap<(RoomNid, OwnedUserId), i64>,
    pub(super) annotations: HashMap<AnnotationKey, Vec<EventNid>>,
    pub(super) upgrades: Vec<UpgradeRow>,
}

pub(super) struct World {
    pub(super) env: Env,
    pub(super) tables: Tables,
    /// Rooms kept in memory; empty when every input starts from the tables.
    warm: HashMap<OwnedRoomId, Room>,
    pub(super) cold: bool,
    counters: HashMap<u32, Counters>,
    pub(super) outputs: Vec<Output>,
    /// Parked events that lack nothing any more.
    free: BTreeSet<ParkedNid>,
    inputs: u64,
    /// All inputs, as they were read.
    pub(super) journal: Vec<InputRoomEvent>,
    /// Records of receipts that inputs of the same batch have put out; empty if each input is a batch of its own.
    pub(super) told_receipts: HashMap<ReceiptKey, i64>,
    /// When inputs are produced.
    pub(super) now: i64,
    /// When events are sent.
    pub(super) clock: i64,
}

impl World {
    pub(super) fn new() -> Self {
        let env = Env {
            server_name: "example.org".try_into().unwrap(),
            signing_key: SigningKey::from_seed("a_test", &[3; 32]).unwrap(),
        };
        Self {
            env,
            tables: Tables::default(),
            warm: HashMap::new(),
            cold: false,
            counters: HashMap::new(),
            outputs: Vec::new(),
            free: BTreeSet::new(),
            inputs: 0,
            journal: Vec::new(),
            told_receipts: HashMap::new(),
            now: 1_700_000_000_000,
            clock: 1_700_000_000_000,
        }
    }

    pub(super) fn record(&mut self, room_id: &str, body: Option<Body>) -> InputRoomEvent {
        self.inputs += 1;
        InputRoomEvent {
            version: 1,
            input_id: u128::from(self.inputs).to_be_bytes().to_vec().into(),
            room_id: room_id.to_owned(),
            produced_ts: self.now + i64::try_from(self.inputs).unwrap(),
            traceparent: String::new(),
            body,
        }
    }

    pub(super) fn submit(&mut self, room_id: &str, body: Body) -> Answer {
        let record = self.record(room_id, Some(body));
        let partition = partition_of(room_id);
        self.submit_input(RoomInput::new(partition, record))
    }

    /// Applies an input and what it sets free, as the worker does.
    pub(super) fn submit_input(&mut self, input: RoomInput) -> Answer {
        self.journal.push(input.record.clone());
        match super::parts(&input) {
            Err(why) => Answer::Poison(why),
            Ok(Some(parts)) => Answer::Parts(parts.into_iter().map(|part| self.apply_one(part)).collect()),
            Ok(None) => self.apply_one(input),
        }
    }

    fn apply_one(&mut self, input: RoomInput) -> Answer {
        let partition = input.partition;
        let answer = self.apply_alone(input);
        while let Some(nid) = self.free.pop_first() {
            let record = InputRoomEvent::decode(self.tables.parked[&nid].record.clone()).unwrap();
            let freed =
                self.apply_alone(RoomInput { parked: Some(nid), ..RoomInput::new(partition, record) });
            assert!(!matches!(freed, Answer::Poison(_) | Answer::Parked(_)), "{freed:?}");
            assert!(!self.tables.parked.contains_key(&nid));
        }
        answer
    }

    fn apply_alone(&mut self, input: RoomInput) -> Answer {
        let counters =
            *self.counters.entry(input.partition).or_insert_with(|| Counters::first(input.partition));
        let id = RoomId::parse(&input.record.room_id).ok();
        let room = id.and_then(|id| self.room(&id));
        let mut loaded = LoadedData::default();
        loaded.told_receipts.clone_from(&self.told_receipts);
        for _ in 0..256 {
            match apply(room.as_ref(), &input, &loaded, counters, &self.env) {
                Outcome::Applied(applied) => {
                    let answer = answer(&applied.verdict);
                    self.commit(input.partition, *applied);
                    return answer;
                }
                Outcome::Refused(verdict) => return answer(&verdict),
                Outcome::Poison(why) => return Answer::Poison(why),
                Outcome::Overrun => panic!("it costs too much"),
                Outcome::Load(request) => self.load(&request, &mut loaded),
            }
        }
        panic!("`apply` asks for more and more");
    }

    fn room(&self, id: &RoomId) -> Option<Room> {
        if let (false, Some(room)) = (self.cold, self.warm.get(id)) {
            return Some(room.clone());
        }
        let row = self.tables.rooms.get(id)?;
        let latest = row.latest_nids.iter().map(|nid| {
            let event = &self.tables.events[nid].event;
            let local = event.flags & super::flags::LOCAL != 0;
            ForwardExtremity { nid: *nid, event_id: event.event_id.clone(), depth: event.depth, local }
        });
        let parts = RoomParts {
            nid: row.nid,
            room_id: row.room_id.clone(),
            partition: row.partition,
            version: row.version.clone(),
            create_nid: row.create_nid,
            create_id: self.tables.events[&row.create_nid].event.event_id.clone(),
            forward_extremities: latest.collect(),
            members_root: NodeNid::from_column(row.members_root),
            other_root: NodeNid::from_column(row.other_root),
            depth: row.depth,
            last_seq: row.last_seq,
            joined_members: row.joined_members,
            invited_members: row.invited_members,
            published: row.published,
            parked: row.parked,
            forked: row.forked,
            has_gaps: row.has_gaps,
            oldest_position: row.oldest_position,
            snapshot: row.snapshot,
            state_bytes: row.state_bytes,
        };
        Some(Room::from_parts(parts).unwrap())
    }

    /// A node as it is read from where it was written.
    pub(super) fn node(&self, nid: NodeNid) -> Node {
        let body = |nid: NodeNid| self.tables.nodes.get(&nid).map(AsRef::as_ref);
        Node::decode(body(nid).unwrap(), body).unwrap()
    }

    fn load(&self, request: &LoadRequest, loaded: &mut LoadedData) {
        let before = (loaded.nodes.len(), loaded.events.len(), loaded.events_by_id.len());
        let before = (before, loaded.aliases.len(), loaded.memberships.len(), loaded.joined_local.len());
        let before = (before, loaded.alias_counts.len());
        let received = |loaded: &LoadedData| {
            (
                loaded.parked.len(),
                loaded.parked_records.len(),
                loaded.snapshots.len(),
                loaded.arrivals.len(),
                loaded.receipts.len(),
                loaded.links.len(),
                loaded.citing.len(),
                (loaded.profiles.len(), loaded.annotations.len(), loaded.servers.len()),
            )
        };
        let before = (before, received(loaded));
        self.load_received(request, loaded);
        for nid in request.nodes.values().flatten() {
            loaded.nodes.insert(*nid, Arc::new(self.node(*nid)));
        }
        for nid in &request.events {
            loaded.events.insert(*nid, Arc::clone(&self.tables.events[nid].event));
        }
        for id in &request.event_ids {
            loaded.events_by_id.insert(id.clone(), self.event(id.as_str()));
        }
        for alias in &request.aliases {
            loaded.aliases.insert(alias.clone(), self.tables.aliases.get(alias).cloned());
        }
        for (room, user) in &request.alias_counts {
            let targets = || self.tables.aliases.values();
            let of_room = targets().filter(|target| target.room_id == *room).count();
            let of_user = targets().filter(|target| target.creator == *user).count();
            loaded.alias_counts.insert((room.clone(), user.clone()), AliasCounts { of_room, of_user });
        }
        for key in &request.memberships {
            let membership = self.tables.members.get(key).map(|(membership, _)| membership.clone());
            loaded.memberships.insert(key.clone(), membership);
        }
        for nid in &request.joined_local {
            let room = self.tables.rooms.values().find(|room| room.nid == *nid).unwrap();
            let joined = self.tables.members.iter().filter(|((id, user), (membership, _))| {
                *id == room.room_id && membership == "join" && user.server_name() == self.env.server_name
            });
            loaded.joined_local.insert(*nid, joined.map(|((_, user), _)| user.clone()).collect());
        }
        for user in &request.profiles {
            let profile = self.tables.profiles.get(user).cloned().unwrap_or_default();
            loaded.profiles.insert(user.clone(), profile);
        }
        for key in &request.annotations {
            let found = self.tables.annotations.get(key).into_iter().flatten().copied();
            let is_whole = |nid: &EventNid| self.tables.events[nid].event.lacks(super::flags::REDACTED);
            loaded.annotations.insert(key.clone(), found.filter(is_whole).collect());
        }
        for (key, _) in &request.servers {
            let room = self.tables.rooms.values().find(|room| room.nid == key.room).unwrap();
            let joined = self.tables.members.iter().filter(|((id, user), (membership, _))| {
                *id == room.room_id && membership == "join" && user.server_name() == key.server
            });
            loaded.servers.insert(key.clone(), i64::try_from(joined.count()).unwrap());
        }
        for key in &request.receipts {
            let known = self.tables.receipts.get(key).map(|row| row.event_seq);
            loaded.receipts.insert(key.clone(), known);
        }
        let after = (loaded.nodes.len(), loaded.events.len(), loaded.events_by_id.len());
        let after = (after, loaded.aliases.len(), loaded.memberships.len(), loaded.joined_local.len());
        let after = (after, loaded.alias_counts.len());
        let after = (after, received(loaded));
        assert_ne!(before, after, "`apply` asks for what it has: {request:?}");
    }

    fn load_received(&self, request: &LoadRequest, loaded: &mut LoadedData) {
        for nid in &request.parked {
            let rows = self.tables.parked.values().filter(|row| row.room_nid == *nid);
            let entries: ParkedEntries = rows.map(|row| (row.entry.nid, Arc::clone(&row.entry))).collect();
            loaded.parked.insert(*nid, entries.into());
        }
        for nid in &request.parked_records {
            loaded.parked_records.insert(*nid, self.tables.parked[nid].record.clone());
        }
        for name in &request.snapshots {
            let chunks = self.tables.chunks.iter().filter(|((room, token, _), _)| (*room, *token) == *name);
            let chunks = chunks.map(|((.., chunk), entries)| (*chunk, entries.clone())).collect();
            loaded.add_snapshot(*name, chunks);
        }
        for nid in &request.links {
            let event = &self.tables.events[nid].event;
            let auth = event.auth_nids.as_slice().into();
            loaded.links.insert(*nid, Links { generation: event.auth_generation, auth });
        }
        for nid in &request.citing {
            let events = self.tables.events.values().map(|row| &row.event);
            let citing = events.filter(|event| event.state_key.is_some() && event.auth_nids.contains(nid));
            loaded.citing.insert(*nid, Citing::Known(citing.map(|event| event.nid).collect()));
        }
        for id in &request.arrivals {
            let redactions = self.tables.pending.iter().filter(|(target, _)| target == id);
            let arrival = Arrival {
                referenced: self.tables.gaps.iter().any(|(missing, _)| missing == id),
                redactions: redactions.map(|(_, redaction)| *redaction).collect(),
            };
            loaded.arrivals.insert(id.clone(), arrival);
        }
    }

    fn commit_received(&mut self, rows: &mut super::Rows) {
        let tables = &mut self.tables;
        for row in rows.placed.drain(..) {
            let known = tables.events.insert(row.event.nid, row).expect("an outlier is placed");
            assert!(known.event.flags & super::flags::OUTLIER != 0);
        }
        for row in rows.room_states.drain(..) {
            tables.room_states.insert(row.seq, (row.members_root, row.other_root));
        }
        for row in rows.parked.drain(..) {
            assert!(tables.parked.insert(row.entry.nid, row).is_none());
        }
        for (nid, id) in rows.arrived.drain(..) {
            let row = tables.parked.get_mut(&nid).expect("parked");
            let mut entry = super::ParkedEntry::clone(&row.entry);
            assert!(entry.missing.remove(&id).is_some());
            row.entry = entry.into();
        }
        for nid in rows.unparked.drain(..) {
            assert!(tables.parked.remove(&nid).is_some(), "parked");
        }
        for (nid, attempts, _) in rows.asked_again.drain(..) {
            let row = tables.parked.get_mut(&nid).expect("parked");
            row.entry = super::ParkedEntry { attempts, ..super::ParkedEntry::clone(&row.entry) }.into();
        }
        tables.gaps.extend(rows.backward_refs.drain(..).map(|(_, id, referrer)| (id, referrer)));
        for (_, id) in rows.backward_refs_filled.drain(..) {
            tables.gaps.retain(|(missing, _)| *missing != id);
        }
        for row in rows.snapshot_chunks.drain(..) {
            tables.chunks.insert((row.room_nid, row.token, row.chunk), row.entries);
        }
        for name in rows.snapshots_used.drain(..) {
            tables.chunks.retain(|(room, token, _), _| (*room, *token) != name);
        }
        for row in rows.decisions.drain(..) {
            tables.decisions.insert(row.event_id, (row.stage, row.rule));
        }
        tables.resets.append(&mut rows.state_resets);
    }

    fn commit(&mut self, partition: u32, applied: Applied) {
        let Applied { room, mut rows, outputs, amended, counters, unparked, .. } = applied;
        self.free.extend(unparked);
        let was = self.counters.insert(partition, counters).unwrap();
        let seqs: Vec<_> = outputs.iter().map(|output| output.seq).collect();
        assert_eq!(seqs, (was.next_seq..counters.next_seq).collect::<Vec<_>>(), "contiguous");
        assert!(rows.room.is_some() || outputs.is_empty());
        for output in &outputs {
            assert_eq!(output.record.seq, u64::try_from(output.seq).unwrap());
        }
        if let Some(told) = rows.snapshot_rows.take() {
            let key = (room.room_id().to_owned(), told.token);
            let members = told.members.into_iter().map(|member| (member.user_id, member.membership));
            self.tables.told.entry(key).or_default().extend(members);
        }
        if let Some(row) = rows.room.take() {
            assert_eq!(rows.room_is_new, !self.tables.rooms.contains_key(&row.room_id));
            let was = self.tables.rooms.get(&row.room_id).and_then(|row| row.snapshot);
            if let Some(token) = row.snapshot.filter(|token| was != Some(*token)) {
                assert!(was.is_none(), "a room is joined by one snapshot");
                let told = self.tables.told.get(&(row.room_id.clone(), token)).cloned().unwrap_or_default();
                self.tables.members.extend(
                    told.into_iter().map(|(user, told)| ((row.room_id.clone(), user), (told, false))),
                );
            }
            self.tables.rooms.insert(row.room_id.clone(), row);
        }
        for row in std::mem::take(&mut rows.events) {
            assert!(self.tables.events.insert(row.event.nid, row).is_none());
        }
        self.commit_received(&mut rows);
        for event in rows.rewritten {
            let nid = event.nid;
            self.tables.events.get_mut(&nid).unwrap().event = event;
        }
        for node in rows.nodes {
            assert!(self.tables.nodes.insert(node.nid, node.body).is_none());
        }
        for member in rows.members {
            let key = (room.room_id().to_owned(), member.user_id);
            self.tables.members.insert(key, (member.membership, false));
        }
        for (_, user) in rows.forgotten {
            self.tables.members.get_mut(&(room.room_id().to_owned(), user)).unwrap().1 = true;
        }
        for row in rows.redactions {
            if !row.applied {
                self.tables.pending.push((row.redacts_id.clone(), row.redaction_nid));
            }
            self.tables.redactions.push((row.redacts_id, row.applied));
        }
        for row in rows.aliases_set {
            let target = AliasTarget { room_id: row.room_id, creator: row.creator };
            assert!(self.tables.aliases.insert(row.alias, target).is_none());
        }
        for alias in rows.aliases_removed {
            assert!(self.tables.aliases.remove(&alias).is_some());
        }
        for row in rows.aliases_moved {
            let target = AliasTarget { room_id: row.room_id, creator: row.creator };
            assert!(self.tables.aliases.insert(row.alias, target).is_some());
        }
        for row in rows.profile_marks {
            self.tables.profile_marks.insert((row.room_nid, row.user_id), row.version);
        }
        for (key, nid) in rows.annotations {
            self.tables.annotations.entry(key).or_default().push(nid);
        }
        self.tables.upgrades.extend(rows.upgrades);
        for row in rows.receipts {
            self.tables.receipts.insert(row.key.clone(), row);
        }
        for (seq, receipt) in amended {
            let output = self.outputs.iter_mut().find(|output| output.seq == seq).expect("it was put out");
            output.record.body = Some(output_room_event::Body::Receipt(receipt));
        }
        self.outputs.extend(outputs);
        self.warm.insert(room.room_id().to_owned(), room);
    }

    pub(super) fn event(&self, id: &str) -> Option<Arc<StoredEvent>> {
        self.tables.events.values().map(|row| &row.event).find(|event| event.event_id == id).map(Arc::clone)
    }

    #[track_caller]
    pub(super) fn json(&self, id: &str) -> Value {
        serde_json::from_slice(&self.event(id).expect("stored").json).unwrap()
    }

    pub(super) fn row(&self, room_id: &str) -> &RoomRow {
        &self.tables.rooms[<&RoomId>::try_from(room_id).unwrap()]
    }

    pub(super) fn membership(&self, room_id: &str, user: &str) -> Option<(String, bool)> {
        let key = (RoomId::parse(room_id).unwrap(), UserId::parse(user).unwrap());
        self.tables.members.get(&key).cloned()
    }

    /// The bodies of all output records.
    pub(super) fn bodies(&self) -> Vec<output_room_event::Body> {
        self.outputs.iter().map(|output| output.record.body.clone().unwrap()).collect()
    }

    pub(super) fn send(&mut self, room: &str, sender: &str, event_type: &str, content: Value) -> Answer {
        let intent = Intent { origin_server_ts: self.clock, ..intent(sender, event_type, None, content) };
        self.submit(room, Body::Intent(intent))
    }

    pub(super) fn set(
        &mut self,
        room: &str,
        sender: &str,
        (event_type, state_key): (&str, &str),
        content: Value,
    ) -> Answer {
        let intent =
            Intent { origin_server_ts: self.clock, ..intent(sender, event_type, Some(state_key), content) };
        self.submit(room, Body::Intent(intent))
    }

    pub(super) fn says(&mut self, room: &str, sender: &str, text: &str) -> Answer {
        self.send(room, sender, "m.room.message", json!({ "msgtype": "m.text", "body": text }))
    }

    pub(super) fn member(&mut self, room: &str, sender: &str, user: &str, membership: &str) -> Answer {
        self.set(room, sender, ("m.room.member", user), json!({ "membership": membership }))
    }

    pub(super) fn redact(&mut self, room: &str, sender: &str, target: &str) -> Answer {
        let mut intent = intent(sender, "m.room.redaction", None, json!({ "reason": "spam" }));
        intent.redacts = target.to_owned();
        self.submit(room, Body::Intent(intent))
    }

    pub(super) fn control(&mut self, room: &str, action: Action) -> Answer {
        self.submit(room, Body::Control(RoomControl { action: Some(action) }))
    }

    /// A room of Alice's with a join rule.
    #[track_caller]
    pub(super) fn creates(&mut self, version: &str, join_rule: Value) -> String {
        let (room_id, batch) = new_room(version, ALICE, join_rule);
        match self.submit(&room_id, Body::Batch(batch)) {
            Answer::Accepted { .. } => room_id,
            other => panic!("version {version}: {other:?}"),
        }
    }

    pub(super) fn public_room(&mut self) -> String {
        self.creates("12", json!({ "join_rule": "public" }))
    }
}

fn answer(verdict: &Verdict) -> Answer {
    match verdict.outcome.as_ref().unwrap() {
        verdict::Outcome::Accepted(accepted) if accepted.duplicate => {
            Answer::Duplicate { event_id: accepted.event_id.clone(), soft_failed: accepted.soft_failed }
        }
        verdict::Outcome::Accepted(accepted) if accepted.soft_failed => {
            Answer::SoftFailed(accepted.event_id.clone())
        }
        verdict::Outcome::Parked(parked) => Answer::Parked(parked.missing_event_ids.clone()),
        verdict::Outcome::Accepted(accepted) => {
            Answer::Accepted { event_id: accepted.event_id.clone(), seq: accepted.seq }
        }
        verdict::Outcome::Rejected(rejected) => Answer::Refused(rejected.reason(), rejected.message.clone()),
        other @ verdict::Outcome::Unknown(_) => panic!("unexpected {other:?}"),
    }
}

pub(super) fn intent(sender: &str, event_type: &str, state_key: Option<&str>, content: Value) -> Intent {
    Intent {
        sender: sender.to_owned(),
        r#type: event_type.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: serde_json::to_vec(&content).unwrap().into(),
        origin_server_ts: 1_700_000_000_000,
        ..Intent::default()
    }
}

/// The batch that `createRoom` makes, in short.
pub(super) fn new_room(version: &str, creator: &str, join_rule: Value) -> (String, AtomicBatch) {
    let rules = RoomRules::of(version).unwrap();
    let room_id = RoomId::parse(format!("!r{}:example.org", join_rule.to_string().len())).unwrap();
    let old_style = (!rules.room_id_is_create_hash()).then_some(&*room_id);
    let content = json!({ "n": join_rule.to_string() });
    let (room_id, create_pdu) = unsigned_create_event(
        &RoomVersionId::try_from(version).unwrap(),
        <&UserId>::try_from(creator).unwrap(),
        old_style,
        content.as_object().unwrap().clone(),
        1_700_000_000_000,
    )
    .unwrap();
    let users = if rules.room_id_is_create_hash() { json!({}) } else { json!({ creator: 100 }) };
    let intents = vec![
        intent(creator, "m.room.member", Some(creator), json!({ "membership": "join" })),
        intent(creator, "m.room.power_levels", Some(""), json!({ "users": users })),
        intent(creator, "m.room.join_rules", Some(""), join_rule),
        intent(creator, "m.room.history_visibility", Some(""), json!({ "history_visibility": "shared" })),
    ];
    let batch = AtomicBatch {
        create_pdu: create_pdu.into(),
        room_version: version.to_owned(),
        intents,
        ..AtomicBatch::default()
    };
    (room_id.to_string(), batch)
}
