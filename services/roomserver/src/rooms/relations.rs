//! Refuses messages whose relation to another event cannot be: a second equal annotation, a thread in a thread.

use plexus_events::canonical::{self, Object, Value};
use plexus_proto::{common::v1::ErrorReason, log::v1::Intent};
use ruma::{EventId, OwnedEventId, UserId};
use sha2::{Digest as _, Sha256};

use super::{
    event::flags,
    ids::{EventNid, RoomNid},
    load_request::{AnnotationKey, LoadRequest},
    loaded_data::LoadedData,
    receipts::Relation,
    work::{Stop, Work},
};

/// What the content of every message with a relation contains.
const MARK: &[u8] = b"m.relates_to";

/// What is looked at before a message may relate to another event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Related {
    /// Nothing.
    Freely,
    /// Whether the user has annotated the event so before.
    Annotates(AnnotationKey),
    /// Whether the event can begin a thread.
    InThread(OwnedEventId),
}

/// The first half of the SHA-256 of an annotation's key: keys are of any length and hold what Postgres cannot.
pub(crate) fn annotation_key(key: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(key)[..16]);
    half
}

impl Related {
    /// Looks at a message before it is applied. `None`: it relates to nothing.
    pub(super) fn prefetched(room: RoomNid, sender: &UserId, intent: &Intent) -> Option<Self> {
        let mut windows = intent.content.windows(MARK.len());
        windows.any(|window| window == MARK).then_some(())?;
        let content = canonical::parse_object(&intent.content).ok()?;
        Some(Self::of(room, sender, &intent.r#type, &content)).filter(|related| *related != Self::Freely)
    }

    /// Reads the relation of a message. What does not fit the schema relates to nothing.
    pub(super) fn of(room: RoomNid, sender: &UserId, event_type: &str, content: &Object) -> Self {
        let Some(Value::Object(relation)) = content.get("m.relates_to") else { return Self::Freely };
        let text = |field: &str| relation.get(field).and_then(Value::as_str);
        let Some(target) = text("event_id").and_then(|id| EventId::parse(id).ok()) else {
            return Self::Freely;
        };
        // Postgres cannot look for a NUL; nor can what has one be stored.
        if [target.as_str(), sender.as_str(), event_type].into_iter().any(|text| text.contains('\0')) {
            return Self::Freely;
        }
        match (text("rel_type"), text("key")) {
            (Some("m.thread"), _) => Self::InThread(target),
            (Some("m.annotation"), Some(key)) => Self::Annotates(AnnotationKey {
                room,
                target,
                sender: sender.to_owned(),
                event_type: event_type.to_owned(),
                key: annotation_key(key),
            }),
            _ => Self::Freely,
        }
    }

    /// Notes what has to be loaded for [`Self::check`].
    pub(super) fn note_lacking(&self, loaded: &LoadedData, request: &mut LoadRequest) {
        match self {
            Self::Annotates(key) if !loaded.annotations.contains_key(key) => {
                request.annotations.insert(key.clone());
            }
            Self::InThread(root) if !loaded.events_by_id.contains_key(root) => {
                request.event_ids.insert(root.clone());
            }
            Self::Freely | Self::Annotates(_) | Self::InThread(_) => {}
        }
    }

    /// Has what [`Self::check`] looks at loaded.
    pub(super) fn look_up(&self, work: &mut Work<'_>) -> Result<(), Stop> {
        let before = work.request.len();
        self.note_lacking(work.loaded, &mut work.request);
        if work.request.len() == before { Ok(()) } else { Err(Stop::Missing) }
    }

    /// Refuses a relation that cannot be.
    pub(super) fn check(&self, work: &mut Work<'_>) -> Result<(), Stop> {
        match self {
            Self::Freely => Ok(()),
            Self::Annotates(key) => {
                if is_annotated(work, key) {
                    let message = "the user has annotated the event with this already".to_owned();
                    return Err(Stop::Refuse(ErrorReason::DuplicateAnnotation, message));
                }
                Ok(())
            }
            Self::InThread(root) => {
                let room = work.room.identity.nid;
                let root = work.event_by_id(root)?.filter(|event| event.room_nid == room);
                if root.is_some_and(|root| Relation::of(&root).is_some()) {
                    let message = "a thread cannot begin at an event that relates to another one".to_owned();
                    return Err(Stop::Refuse(ErrorReason::InvalidRelation, message));
                }
                Ok(())
            }
        }
    }

    /// Keeps in mind that the message was sent.
    pub(super) fn keep(self, work: &mut Work<'_>, nid: EventNid) {
        if let Self::Annotates(key) = self {
            work.rows.annotations.push((key, nid));
        }
    }
}

/// Whether an annotation like this is there that was not redacted, be it by an input of the same batch.
fn is_annotated(work: &Work<'_>, key: &AnnotationKey) -> bool {
    let mut found = work.loaded.annotations.get(key).into_iter().flatten();
    found.any(|nid| work.loaded.events.get(nid).is_none_or(|event| event.lacks(flags::REDACTED)))
}
