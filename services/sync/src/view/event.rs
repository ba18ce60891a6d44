//! Events, and how clients see them.

mod around;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use plexus_matrix_http::event::{EventError, EventFormat, EventMeta, client_event};
use plexus_proto::{
    log::v1::{HistoryVisibility, NewEvent},
    room::v1::RoomEvent,
};
use plexus_push::Facts;
use ruma::{DeviceId, OwnedEventId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use self::around::Around;
use super::{MEMBER, Membership, RecordError};
use crate::{erased::Erased, limits};

const RELATES_TO: &[u8] = b"m.relates_to";

/// How much older `age` may be than the answer it is in, in milliseconds: readers of one event mostly come together.
const AGE_SLACK: i64 = 1_000;

/// An event of a room.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: OwnedEventId,
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) state_key: Option<String>,
    pub(crate) sender: OwnedUserId,
    /// Federation format.
    pub(crate) json: Bytes,
    /// For a member event: the membership it sets.
    pub(crate) membership: Option<Membership>,
    /// Whether members who join later may see it.
    pub(crate) shared: bool,
    pub(crate) redacted: bool,
    /// Whether events are missing in the timeline before it.
    pub(crate) gap_before: bool,
    /// What the room was like when the event came. Known for events of the timeline.
    around: OnceLock<Around>,
    /// What push rules look at, worked out when it is first asked for.
    facts: OnceLock<Facts>,
    /// How it relates to another event, read when it is first asked for.
    relation: OnceLock<Option<Relation>>,
    /// The root of the thread that it is in. Known for events of the timeline.
    thread: OnceLock<Option<Box<str>>>,
    txn: Option<Transaction>,
    /// For a state event: what it replaced. Known once the event is put into its room.
    replaced: OnceLock<Replaced>,
    /// The event it replaced, if that is all the room server told.
    replaced_id: Option<String>,
    /// As most clients see it: in the timeline, to a member, who did not send it; and in the state.
    in_timeline: Mutex<Option<Shown>>,
    in_state: Mutex<Option<Shown>>,
}

/// How an event relates to another.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Relation {
    pub(crate) rel_type: String,
    pub(crate) event_id: String,
}

#[derive(Debug, Clone)]
struct Transaction {
    device_id: String,
    id: String,
}

#[derive(Debug, Clone)]
struct Replaced {
    event_id: String,
    content: Option<Bytes>,
    sender: String,
}

#[derive(Debug, Clone)]
struct Shown {
    at: i64,
    json: Arc<RawValue>,
}

/// Who looks at an event, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer<'a> {
    /// Who asked to be erased: what they said before is told by their own events alone.
    pub(crate) erased: &'a Erased,
    pub(crate) user_id: &'a UserId,
    pub(crate) device_id: &'a DeviceId,
    /// In milliseconds since the Unix epoch.
    pub(crate) now: i64,
}

/// The keys of an event that matter here.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    sender: OwnedUserId,
    #[serde(default)]
    state_key: Option<String>,
    #[serde(default)]
    unsigned: Option<Unsigned>,
}

#[derive(Deserialize)]
struct Unsigned {
    redacted_because: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct WithContent<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct MemberContent {
    membership: Option<Membership>,
}

#[derive(Deserialize)]
struct NamedContent {
    displayname: Option<String>,
}

#[derive(Deserialize)]
struct RelatedContent {
    #[serde(rename = "m.relates_to")]
    relates_to: Option<Relation>,
}

impl Event {
    /// Reads an event that was just accepted.
    pub(crate) fn accepted(new: NewEvent, seq: u64) -> Result<Self, RecordError> {
        let shared = is_shared(new.visibility());
        let mut event = Self::parse(&new.event_id, new.json, seq)?;
        event.shared = shared;
        event.gap_before = new.gap_before;
        event.txn = new.txn.map(|txn| Transaction { device_id: txn.device_id, id: txn.txn_id });
        Ok(event)
    }

    /// Reads an event as the room server answers it.
    pub(crate) fn stored(stored: RoomEvent, visibility: HistoryVisibility) -> Result<Self, RecordError> {
        let mut event = Self::parse(&stored.event_id, stored.json, stored.seq)?;
        event.shared = is_shared(visibility);
        event.gap_before = stored.gap_before;
        if !stored.txn_id.is_empty() {
            event.txn = Some(Transaction { device_id: stored.txn_device_id, id: stored.txn_id });
        }
        if !stored.replaces_event_id.is_empty() {
            event.replaced_id = Some(stored.replaces_event_id.clone());
        }
        if !stored.prev_content.is_empty() {
            event.replaced = OnceLock::from(Replaced {
                event_id: stored.replaces_event_id,
                content: Some(Bytes::copy_from_slice(&stored.prev_content)),
                sender: stored.prev_sender,
            });
        }
        Ok(event)
    }

    /// Bytes that it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let shown = [&self.in_timeline, &self.in_state]
            .map(|shown| shown.lock().as_ref().map_or(0, |shown| shown.json.get().len()));
        let replaced = self.replaced.get().and_then(|replaced| replaced.content.as_ref());
        // Push rules look at a copy.
        let copies = 1 + usize::from(self.has_facts());
        limits::EVENT_WEIGHT
            + copies * self.json.len()
            + shown.iter().sum::<usize>()
            + replaced.map_or(0, Bytes::len)
    }

    /// Reads an event. What is kept is copied: it may be a part of a buffer that is much larger.
    fn parse(id: &str, json: Bytes, seq: u64) -> Result<Self, RecordError> {
        let json = Bytes::copy_from_slice(&json);
        let head: Head = serde_json::from_slice(&json).map_err(RecordError::Json)?;
        let mut event = Self {
            id: OwnedEventId::try_from(id)?,
            seq,
            kind: head.kind,
            state_key: head.state_key,
            sender: head.sender,
            json,
            membership: None,
            shared: true,
            gap_before: false,
            redacted: head.unsigned.is_some_and(|unsigned| unsigned.redacted_because.is_some()),
            around: OnceLock::new(),
            facts: OnceLock::new(),
            relation: OnceLock::new(),
            thread: OnceLock::new(),
            txn: None,
            replaced: OnceLock::new(),
            replaced_id: None,
            in_timeline: Mutex::new(None),
            in_state: Mutex::new(None),
        };
        if event.state_key.is_some() && event.kind == MEMBER {
            event.membership = event.read_content::<MemberContent>().and_then(|content| content.membership);
        }
        Ok(event)
    }

    /// The event after it was redacted.
    pub(crate) fn redacted(&self, json: Bytes) -> Result<Self, RecordError> {
        let mut event = Self::parse(self.id.as_str(), json, self.seq)?;
        event.shared = self.shared;
        event.gap_before = self.gap_before;
        event.redacted = true;
        event.around = self.around.clone();
        event.txn.clone_from(&self.txn);
        event.replaced = self.replaced.clone();
        event.replaced_id.clone_from(&self.replaced_id);
        Ok(event)
    }

    /// Remembers what the event replaced in the state.
    pub(crate) fn replaces(&self, old: &Self) {
        self.replaced.get_or_init(|| Replaced {
            event_id: old.id.to_string(),
            content: old.content().map(|content| Bytes::copy_from_slice(content.get().as_bytes())),
            sender: old.sender.to_string(),
        });
    }

    /// The content; `None` if the event has none, which no accepted event can be.
    pub(crate) fn content(&self) -> Option<&RawValue> {
        serde_json::from_slice::<WithContent<'_>>(&self.json).ok().map(|event| event.content)
    }

    /// Reads what is wanted of the content; `None` if it does not fit.
    pub(crate) fn read_content<'a, C: Deserialize<'a>>(&'a self) -> Option<C> {
        self.content().and_then(|content| serde_json::from_str(content.get()).ok())
    }

    /// Notes what the room was like when the event came.
    pub(super) fn came_into(&self, around: Around) {
        self.around.get_or_init(|| around);
    }

    /// Notes the thread of an event that comes into a timeline.
    pub(super) fn is_in_thread(&self, root: Option<String>) {
        self.thread.get_or_init(|| root.map(String::into_boxed_str));
    }

    /// The root of the thread that the event is in, as far as that was known when it came into the timeline.
    pub(crate) fn thread(&self) -> Option<&str> {
        self.thread.get()?.as_deref()
    }

    /// Whether [`Self::facts`] are worked out already.
    pub(super) fn has_facts(&self) -> bool {
        self.facts.get().is_some()
    }

    /// What the room was like after the event; `None` if nobody noted it.
    pub(super) fn around(&self) -> Option<&Around> {
        self.around.get()
    }

    /// What push rules look at. `around` stands in where nobody noted what the room was like.
    pub(super) fn facts(&self, around: Option<&Around>) -> &Facts {
        self.facts.get_or_init(|| {
            let around = self.around.get().or(around).cloned().unwrap_or_default();
            Facts::of(&self.json, around.members, around.power)
        })
    }

    /// How the event relates to another, if it does.
    pub(crate) fn relation(&self) -> Option<&Relation> {
        let read = || {
            // Most events have none, and need not be parsed to see it.
            let has_relation = self.json.windows(RELATES_TO.len()).any(|window| window == RELATES_TO);
            has_relation.then(|| self.read_content::<RelatedContent>()).flatten()?.relates_to
        };
        self.relation.get_or_init(read).as_ref()
    }

    /// For a member event: how the member is called.
    pub(crate) fn display_name(&self) -> Option<String> {
        self.read_content::<NamedContent>()?.displayname
    }

    /// For a state event: the content it replaced, as far as that is known.
    pub(super) fn replaced_content(&self) -> Option<&str> {
        let content = self.replaced.get()?.content.as_ref()?;
        std::str::from_utf8(content).ok()
    }

    /// Whether it is the member event of the user.
    pub(crate) fn is_membership_of(&self, user_id: &UserId) -> bool {
        self.kind == MEMBER && self.state_key.as_deref() == Some(user_id.as_str())
    }

    /// The event for a client. `membership` is the viewer's at the event; unset for events of the state. `relations` is
    /// what relations have made of it.
    pub(crate) fn show(
        &self,
        room_id: &RoomId,
        membership: Option<Membership>,
        viewer: Viewer<'_>,
        relations: Option<&RawValue>,
    ) -> Result<Arc<RawValue>, EventError> {
        let own = self
            .txn
            .as_ref()
            .filter(|txn| viewer.user_id == self.sender && viewer.device_id.as_str() == txn.device_id);
        let hides_replaced = self.replaces_event_of(viewer.erased);
        let cache = match (own, membership, relations) {
            (None, None, None) if !hides_replaced => &self.in_state,
            (None, Some(Membership::Join), None) if !hides_replaced => &self.in_timeline,
            (Some(_), _, _) | (None, Some(_), _) | (None, None, _) => {
                return self.render(room_id, membership, own, viewer, relations).map(Arc::from);
            }
        };
        if let Some(shown) = &*cache.lock()
            && (0..=AGE_SLACK).contains(&(viewer.now - shown.at))
        {
            return Ok(Arc::clone(&shown.json));
        }
        let json: Arc<RawValue> = Arc::from(self.render(room_id, membership, None, viewer, None)?);
        if json.get().len() <= limits::SHOWN_BYTES {
            *cache.lock() = Some(Shown { at: viewer.now, json: Arc::clone(&json) });
        }
        Ok(json)
    }

    /// Whether the event replaced one whose sender asked to be erased.
    fn replaces_event_of(&self, erased: &Erased) -> bool {
        let sender =
            self.replaced.get().and_then(|replaced| <&UserId>::try_from(replaced.sender.as_str()).ok());
        sender.is_some_and(|sender| erased.contains(sender))
    }

    fn render(
        &self,
        room_id: &RoomId,
        membership: Option<Membership>,
        own: Option<&Transaction>,
        viewer: Viewer<'_>,
        relations: Option<&RawValue>,
    ) -> Result<Box<RawValue>, EventError> {
        let replaced = self.replaced.get();
        let told = replaced.filter(|_| !self.replaces_event_of(viewer.erased));
        let meta = EventMeta {
            event_id: self.id.as_str(),
            room_id: room_id.as_str(),
            txn_id: own.map(|txn| txn.id.as_str()),
            membership: membership.map(Membership::as_str),
            replaces_event_id: replaced
                .map(|replaced| replaced.event_id.as_str())
                .or(self.replaced_id.as_deref()),
            prev_content: told.and_then(|replaced| replaced.content.as_deref()),
            prev_sender: told.map(|replaced| replaced.sender.as_str()).filter(|sender| !sender.is_empty()),
            now_ms: Some(viewer.now),
            relations,
        };
        client_event(&self.json, meta, EventFormat::Sync)
    }
}

fn is_shared(visibility: HistoryVisibility) -> bool {
    match visibility {
        HistoryVisibility::Unspecified | HistoryVisibility::Shared | HistoryVisibility::WorldReadable => true,
        HistoryVisibility::Joined | HistoryVisibility::Invited => false,
    }
}
