//! A record of `OutputRoomEvent`, read and ready to be applied.

use std::sync::Arc;

use bytes::Bytes;
use plexus_proto::log::v1::{
    HistoryVisibility, NewEvent, OutputRoomEvent, StateChange, output_room_event::Body,
};
use ruma::{OwnedEventId, UserId};

use super::{Event, MEMBER, Membership, receipts::Receipt};
use crate::upstream::StateDelta;

/// Why a record makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("an identifier is malformed")]
    Identifier(#[from] ruma::IdParseError),
    #[error("the event is malformed")]
    Json(#[source] serde_json::Error),
    #[error("the state delta names {event_id}, which the room server does not tell")]
    UnknownEvent { event_id: String },
}

/// A record, read.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) seq: u64,
    /// When what it tells came, in milliseconds since the Unix epoch.
    pub(crate) ts: i64,
    pub(crate) fact: Fact,
    pub(crate) changes: Vec<Change>,
}

/// What a record tells.
#[derive(Debug)]
pub(crate) enum Fact {
    /// An event of the timeline.
    Event(Arc<Event>),
    /// An event looks different now.
    Redacted { event_id: OwnedEventId, json: Bytes },
    /// A receipt moved.
    Receipt(Receipt),
    /// Nothing that a timeline shows.
    Other,
}

/// An entry of the current state changed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: String,
    pub(crate) state_key: String,
    /// `None`: it was removed.
    pub(crate) event: Option<Arc<Event>>,
}

/// What a change means for a member.
#[derive(Debug)]
pub(crate) struct MemberChange<'a> {
    pub(crate) user_id: &'a UserId,
    pub(crate) membership: Option<Membership>,
    pub(crate) sender: &'a UserId,
}

/// The state delta of a record, read from the room server because the record does not tell all of it.
#[derive(Debug)]
pub(crate) struct Completed(StateDelta);

impl From<StateDelta> for Completed {
    fn from(delta: StateDelta) -> Self {
        Self(delta)
    }
}

impl Completed {
    /// Whether the record lacks part of its delta.
    pub(crate) fn is_needed(record: &OutputRoomEvent) -> bool {
        let Some(Body::NewEvent(new)) = &record.body else {
            return false;
        };
        let is_foreign =
            |change: &StateChange| !change.event_id.is_empty() && change.event_id != new.event_id;
        new.delta.as_ref().is_some_and(|delta| delta.truncated || delta.changes.iter().any(is_foreign))
    }

    fn changes(self, new: &Arc<Event>) -> Result<Vec<Change>, RecordError> {
        let mut changes = Vec::with_capacity(self.0.changed.len() + self.0.removed.len());
        for stored in self.0.changed {
            let event = if stored.event_id == new.id.as_str() {
                Arc::clone(new)
            } else {
                Arc::new(Event::stored(stored, HistoryVisibility::Shared)?)
            };
            changes.push(Change {
                kind: event.kind.clone(),
                state_key: event.state_key.clone().unwrap_or_default(),
                event: Some(event),
            });
        }
        let removed = self.0.removed.into_iter();
        changes.extend(removed.map(|key| Change { kind: key.r#type, state_key: key.state_key, event: None }));
        Ok(changes)
    }
}

impl Applied {
    /// Reads a record. Of rooms that nobody here has to do with, only what may concern a user is read.
    pub(crate) fn read(
        record: OutputRoomEvent,
        completed: Option<Completed>,
        in_full: bool,
    ) -> Result<Self, RecordError> {
        let (seq, ts) = (record.seq, record.committed_ts);
        let nothing = Self { seq, ts, fact: Fact::Other, changes: Vec::new() };
        match record.body {
            Some(Body::NewEvent(new)) => {
                let delta = new.delta.as_ref();
                let concerns_users = delta.is_some_and(|delta| {
                    delta.truncated || delta.changes.iter().any(|change| change.r#type == MEMBER)
                });
                if in_full || concerns_users { Self::new_event(new, nothing, completed) } else { Ok(nothing) }
            }
            Some(Body::Redacted(redacted)) => {
                let event_id = OwnedEventId::try_from(redacted.event_id.as_str())?;
                Ok(Self { fact: Fact::Redacted { event_id, json: redacted.json }, ..nothing })
            }
            Some(Body::Receipt(receipt)) if in_full => {
                Ok(Self { fact: Fact::Receipt(Receipt::read(receipt, seq)?), ..nothing })
            }
            // What lies before the timeline is read where it is asked for; what is to be fetched is for the fetcher.
            Some(
                Body::Receipt(_)
                | Body::Directory(_)
                | Body::Forgotten(_)
                | Body::OldEvent(_)
                | Body::StateRewritten(_)
                | Body::Fetch(_)
                | Body::Purged(_),
            )
            | None => Ok(nothing),
        }
    }

    fn new_event(mut new: NewEvent, empty: Self, completed: Option<Completed>) -> Result<Self, RecordError> {
        let delta = new.delta.take().unwrap_or_default();
        let soft_failed = new.soft_failed;
        let event = Arc::new(Event::accepted(new, empty.seq)?);
        let changes = match completed {
            Some(completed) => completed.changes(&event)?,
            None => inline_changes(delta.changes, &event)?,
        };
        // A soft-failed event is for servers; what it does to the state is for all.
        let fact = if soft_failed { Fact::Other } else { Fact::Event(event) };
        Ok(Self { fact, changes, ..empty })
    }

    /// The users whose member events changed.
    pub(crate) fn member_changes(&self) -> impl Iterator<Item = MemberChange<'_>> {
        self.changes.iter().filter(|change| change.kind == MEMBER).filter_map(|change| {
            let user_id = <&UserId>::try_from(change.state_key.as_str()).ok()?;
            Some(match &change.event {
                Some(event) => MemberChange { user_id, membership: event.membership, sender: &event.sender },
                // Without a member event one is not in the room.
                None => MemberChange { user_id, membership: Some(Membership::Leave), sender: user_id },
            })
        })
    }
}

fn inline_changes(changes: Vec<StateChange>, new: &Arc<Event>) -> Result<Vec<Change>, RecordError> {
    let mut read = Vec::with_capacity(changes.len());
    for change in changes {
        let event = match change.event_id {
            id if id.is_empty() => None,
            id if id == new.id.as_str() => Some(Arc::clone(new)),
            event_id => return Err(RecordError::UnknownEvent { event_id }),
        };
        read.push(Change { kind: change.r#type, state_key: change.state_key, event });
    }
    Ok(read)
}
