//! A room as other servers see it: builds and signs their events.

use anyhow::Context as _;
use bytes::Bytes;
use plexus_events::{Draft, RoomRules, SigningKey, canonical, create::unsigned_create_event, hash, signing};
use plexus_proto::log::v1::{AtomicBatch, Intent, Pdu, pdu::Kind};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId, UserId};
use serde_json::{Value, json};

use crate::stage::SERVER;

/// Room version of all rooms.
const VERSION: &str = "12";
/// Servers of the members.
const SERVERS: usize = 1_000;
/// When everything begins.
const TS: i64 = 1_700_000_000_000;

/// The user of this server who makes rooms.
pub(crate) fn local_user() -> String {
    format!("@alice:{SERVER}")
}

/// A public room of this server: its ID, and the batch that makes it.
pub(crate) fn local_room(salt: &str) -> anyhow::Result<(String, AtomicBatch)> {
    let user = local_user();
    let content = json!({ "org.example.salt": salt }).as_object().cloned().unwrap_or_default();
    let sender = <&UserId>::try_from(user.as_str())?;
    let (room_id, create) = unsigned_create_event(&RoomVersionId::V12, sender, None, content, TS)?;
    let intent =
        |event_type: &str, state_key: &str, content: Value| intent(event_type, Some(state_key), &content);
    let batch = AtomicBatch {
        create_pdu: create.into(),
        room_version: VERSION.to_owned(),
        intents: vec![
            intent("m.room.member", &user, json!({ "membership": "join" })),
            intent("m.room.power_levels", "", json!({})),
            intent("m.room.join_rules", "", json!({ "join_rule": "public" })),
        ],
        ..AtomicBatch::default()
    };
    Ok((room_id.to_string(), batch))
}

/// An intent of the local user.
pub(crate) fn intent(event_type: &str, state_key: Option<&str>, content: &Value) -> Intent {
    Intent {
        sender: local_user(),
        r#type: event_type.to_owned(),
        state_key: state_key.map(str::to_owned),
        content: content.to_string().into(),
        origin_server_ts: TS,
        ..Intent::default()
    }
}

/// A member of another server.
#[derive(Default)]
struct Member {
    /// Their membership event; `None` before they join.
    event: Option<OwnedEventId>,
    joined: bool,
}

/// What is cited next.
#[derive(Clone)]
struct Front {
    prev: Vec<OwnedEventId>,
    depth: i64,
}

/// A room.
pub(crate) struct Far {
    rules: &'static RoomRules,
    key: SigningKey,
    rng: StdRng,
    room_id: OwnedRoomId,
    create: OwnedEventId,
    power_levels: OwnedEventId,
    join_rules: OwnedEventId,
    members: Vec<Member>,
    /// Members who have left and are to come back.
    away: Vec<usize>,
    /// How many have ever joined: those with lower numbers.
    known: usize,
    front: Front,
    /// The front before the last event, and who sent that.
    before: Option<(Front, usize)>,
    ts: i64,
}

impl Far {
    /// A room that exists: what its IDs are.
    pub(crate) fn of(
        room: &str,
        members: usize,
        seed: u64,
        [create, power_levels, join_rules]: [&str; 3],
    ) -> anyhow::Result<Self> {
        let join_rules: OwnedEventId = join_rules.try_into()?;
        Ok(Self {
            rules: RoomRules::of(VERSION)?,
            key: SigningKey::from_seed("bench", &[9; 32]).context("a key")?,
            rng: StdRng::seed_from_u64(seed),
            room_id: room.try_into()?,
            create: create.try_into()?,
            power_levels: power_levels.try_into()?,
            members: (0..members).map(|_| Member::default()).collect(),
            away: Vec::new(),
            known: 0,
            front: Front { prev: vec![join_rules.clone()], depth: 10 },
            join_rules,
            before: None,
            ts: TS,
        })
    }

    /// A room of another server; also its first events.
    pub(crate) fn new(salt: &str, members: usize) -> anyhow::Result<(Self, Vec<Bytes>)> {
        let rules = RoomRules::of(VERSION)?;
        let key = SigningKey::from_seed("bench", &[9; 32]).context("a key")?;
        let creator = "@creator:s0.example";
        let sender = <&UserId>::try_from(creator)?;
        let content = json!({ "org.example.salt": salt }).as_object().cloned().unwrap_or_default();
        let (room_id, create) = unsigned_create_event(&RoomVersionId::V12, sender, None, content, TS)?;
        let mut create = canonical::parse_object(&create)?;
        signing::sign_event(&mut create, sender.server_name(), &key, rules)?;
        let create_id = hash::event_id(&create, rules)?.to_string();
        let mut events = vec![Bytes::from(canonical::object_to_vec(&create))];
        let mut far = Self::of(room_id.as_str(), members, 1, [&create_id, &create_id, &create_id])?;
        let join = json!({ "membership": "join" });
        let (joined, json) = far.build(creator, "m.room.member", Some(creator), &join, &[])?;
        events.push(json);
        let auth = [joined];
        let levels = json!({ "users": { local_user(): 50 } });
        let (id, json) = far.build(creator, "m.room.power_levels", Some(""), &levels, &auth)?;
        events.push(json);
        far.power_levels = id;
        let auth = [auth[0].clone(), far.power_levels.clone()];
        let rule = json!({ "join_rule": "public" });
        let (id, json) = far.build(creator, "m.room.join_rules", Some(""), &rule, &auth)?;
        events.push(json);
        far.join_rules = id;
        Ok((far, events))
    }

    /// Room ID.
    pub(crate) fn room_id(&self) -> &str {
        self.room_id.as_str()
    }

    /// Members who are joined.
    pub(crate) fn joined(&self) -> usize {
        self.known - self.away.len()
    }

    /// One more join of somebody who was never there; also the event's ID.
    pub(crate) fn next_join(&mut self) -> anyhow::Result<(OwnedEventId, Bytes)> {
        let member = self.known;
        self.known += 1;
        self.membership(member, true)
    }

    /// The join of a user with what this server knows: not sent yet.
    pub(crate) fn join_of(&mut self, user: &str) -> anyhow::Result<(OwnedEventId, Bytes)> {
        let auth = [self.power_levels.clone(), self.join_rules.clone()];
        self.build(user, "m.room.member", Some(user), &json!({ "membership": "join" }), &auth)
    }

    /// A membership change: of somebody new while there are some, else of anybody.
    pub(crate) fn change(&mut self, forks: f64) -> anyhow::Result<Bytes> {
        let forked = self.rng.random_bool(forks);
        let new = self.members.len() - self.known;
        // The room grows to its size in the first two thirds of the changes.
        if new > 0 && (self.known < 10 || self.rng.random_bool(0.5)) {
            return Ok(self.next_join()?.1);
        }
        if !self.away.is_empty() && self.rng.random_bool(0.4) {
            let at = self.rng.random_range(0..self.away.len());
            let member = self.away.swap_remove(at);
            return Ok(self.membership(member, true)?.1);
        }
        let member = self.some_member();
        let leaves = self.rng.random_bool(0.3) && self.known > 100;
        if leaves {
            self.away.push(member);
        }
        self.at_front(forked, member, |far| Ok(far.membership(member, !leaves)?.1))
    }

    /// A message of somebody who is joined.
    pub(crate) fn message(&mut self, forks: f64) -> anyhow::Result<Bytes> {
        let forked = self.rng.random_bool(forks);
        let member = self.some_member();
        let content = self.content();
        self.at_front(forked, member, |far| {
            let mut auth = vec![far.power_levels.clone()];
            auth.extend(far.members[member].event.clone());
            Ok(far.build(&name(member), "m.room.message", None, &content, &auth)?.1)
        })
    }

    /// Builds an event, if `forked` without having seen the last one. Its sender must not be that of the last one.
    fn at_front(
        &mut self,
        forked: bool,
        member: usize,
        build: impl FnOnce(&mut Self) -> anyhow::Result<Bytes>,
    ) -> anyhow::Result<Bytes> {
        match self.before.take() {
            Some((before, last)) if forked && last != member && before.prev.len() == 1 => {
                let seen = std::mem::replace(&mut self.front, before);
                let json = build(self)?;
                // Whoever comes next has seen both.
                self.front.prev.extend(seen.prev);
                self.before = None;
                Ok(json)
            }
            _ => {
                let before = self.front.clone();
                let json = build(self)?;
                self.before = Some((before, member));
                Ok(json)
            }
        }
    }

    fn membership(&mut self, member: usize, joins: bool) -> anyhow::Result<(OwnedEventId, Bytes)> {
        let user = name(member);
        let mut auth = vec![self.power_levels.clone()];
        if joins {
            auth.push(self.join_rules.clone());
        }
        auth.extend(self.members[member].event.clone());
        let content = if joins {
            let number: u32 = self.rng.random();
            json!({ "membership": "join", "displayname": format!("Member {number}") })
        } else {
            json!({ "membership": "leave" })
        };
        let before = (self.front.clone(), member);
        let (id, json) = self.build(&user, "m.room.member", Some(&user), &content, &auth)?;
        self.before = Some(before);
        self.members[member] = Member { event: Some(id.clone()), joined: joins };
        Ok((id, json))
    }

    /// Somebody who is joined; few of them do most of the talking.
    fn some_member(&mut self) -> usize {
        loop {
            let chance: f64 = self.rng.random();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "a random number below the number of members"
            )]
            let member = (chance.powi(3) * self.known as f64) as usize;
            if self.members.get(member).is_some_and(|member| member.joined) {
                return member;
            }
        }
    }

    fn content(&mut self) -> Value {
        const WORDS: [&str; 12] = [
            "the", "server", "room", "state", "of", "and", "event", "resolves", "where", "does", "time", "go",
        ];
        let count = self.rng.random_range(1..25);
        let words: Vec<&str> = (0..count).map(|_| WORDS[self.rng.random_range(0..WORDS.len())]).collect();
        let mut content = json!({ "msgtype": "m.text", "body": words.join(" ") });
        if self.rng.random_bool(0.15) {
            content["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": self.front.prev[0] } });
        }
        content
    }

    fn build(
        &mut self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
        auth: &[OwnedEventId],
    ) -> anyhow::Result<(OwnedEventId, Bytes)> {
        let user = <&UserId>::try_from(sender)?;
        let auth: Vec<OwnedEventId> = auth.iter().filter(|id| **id != self.create).cloned().collect();
        self.ts += 1_000;
        let depth = self.front.depth + 1;
        let draft = Draft {
            room_id: Some(&self.room_id),
            sender: user,
            event_type,
            state_key,
            content: canonical::parse_object(content.to_string().as_bytes())?,
            redacts: None,
            prev_events: &self.front.prev,
            auth_events: &auth,
            depth,
            origin_server_ts: self.ts,
        };
        let built = draft.hash(self.rules)?.sign(user.server_name(), &self.key)?;
        self.front = Front { prev: vec![built.event_id.clone()], depth };
        Ok((built.event_id, built.json.into()))
    }
}

/// A finished event, as the lanes take it.
pub(crate) fn pdu(json: Bytes, kind: Kind) -> Pdu {
    Pdu { kind: kind.into(), json, origin: "s0.example".to_owned(), ..Pdu::default() }
}

fn name(member: usize) -> String {
    format!("@member{member}:s{}.example", member % SERVERS)
}

/// The ID of an event.
pub(crate) fn event_id(json: &[u8]) -> anyhow::Result<String> {
    let object = canonical::parse_object(json)?;
    Ok(hash::event_id(&object, RoomRules::of(VERSION)?)?.to_string())
}
