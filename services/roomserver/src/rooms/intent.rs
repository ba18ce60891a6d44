//! Intents: events of local users, built, checked and signed here.

use std::sync::Arc;

use plexus_events::{BuildError, Built, Draft, Pdu, canonical};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{HistoryVisibility, Intent, NewEvent, StateChange, StateDelta, output_room_event::Body},
};
use ruma::{EventId, OwnedEventId, UserId, events::TimelineEventType};
use serde_json::value::RawValue;

use super::{
    auth::Authors,
    event::{StoredEvent, flags},
    hot::StateEvent,
    ids::EventNid,
    outcome::{EventRow, MemberRow, Outcome, accepted},
    redaction,
    room::Latest,
    state::MEMBER,
    work::{Stop, Work, bytes, unsigned},
};

/// Most forward extremities an event cites: the newest ones.
const MAX_CITED: usize = 10;
/// Most bytes of a content before it is made canonical; what is longer cannot fit into an event.
const MAX_CONTENT_BYTES: usize = 256 * 1024;

/// What became of an intent.
pub(super) struct Sent {
    /// The event, or the one that already says the same.
    pub(super) event_id: OwnedEventId,
    /// `seq` of its output record.
    pub(super) seq: i64,
}

/// Applies an intent.
pub(super) fn apply(mut work: Work<'_>, intent: &Intent) -> Result<Outcome, Stop> {
    let sent = send(&mut work, intent)?;
    Ok(work.applied(accepted(Some(&sent.event_id), sent.seq)))
}

/// Builds, checks and stores the event of an intent.
pub(super) fn send(work: &mut Work<'_>, intent: &Intent) -> Result<Sent, Stop> {
    let sender = local_user(work, &intent.sender)?;
    let state_key = intent.state_key.as_deref();
    if intent.content.len() > MAX_CONTENT_BYTES {
        return Err(Stop::Refuse(ErrorReason::TooLarge, "the content is too large".to_owned()));
    }
    let mut content = canonical::parse_object(&intent.content)
        .map_err(|error| Stop::Refuse(ErrorReason::BadJson, format!("content: {}", error.detail())))?;
    let redacts = redaction::place_target(work, intent, &mut content)?;
    if intent.r#type == MEMBER {
        super::restricted::authorize_join(work, sender, state_key, &mut content)?;
    }
    if intent.r#type == "m.room.canonical_alias" && state_key == Some("") {
        super::aliases::check_canonical_alias(work, &content)?;
    }
    let event_type = TimelineEventType::from(intent.r#type.as_str());
    let ordinary = state_key.is_none() && is_ordinary(&event_type);

    // Read all that is needed, so that one round of loading brings all of it.
    let authors = if ordinary {
        work.message_authors(sender)?
    } else {
        let text = raw(canonical::object_to_vec(&content))?;
        work.event_authors(&event_type, sender, state_key, &text)?
    };
    let visibility = work.visibility()?;
    let replaced = match state_key {
        Some(state_key) => work.state(&intent.r#type, state_key)?,
        None => Some(None),
    };
    if let Some(target) = &redacts {
        // Only loaded here; what it is used for comes after the event is known to be allowed.
        work.event_by_id(target);
    }
    work.settle()?;
    let (Some(authors), Some(visibility), Some(replaced)) = (authors, visibility, replaced) else {
        return Err(Stop::Poison("something is lacking and nothing to be loaded".to_owned()));
    };

    if intent.r#type != MEMBER {
        work.require_joined(sender)?;
    }
    if let (true, Some(current)) = (intent.skip_if_unchanged, &replaced)
        && is_unchanged(current, sender, &content)
    {
        return Ok(Sent { event_id: current.event_id.clone(), seq: current.seq });
    }
    let redaction = redacts.as_deref().map(|target| redaction::plan(work, sender, target)).transpose()?;

    let prev_events = cited(work);
    let (auth_ids, top_level_redacts) = (authors.ids(), top_level(work, redacts.as_deref()));
    let room_id = work.room_id().to_owned();
    let prev_ids: Vec<_> = prev_events.iter().map(|latest| latest.event_id.clone()).collect();
    let draft = Draft {
        room_id: Some(&room_id),
        sender,
        event_type: &intent.r#type,
        state_key,
        content,
        redacts: top_level_redacts,
        prev_events: &prev_ids,
        auth_events: &auth_ids,
        depth: work.room.depth.saturating_add(1).min(plexus_events::MAX_INTEGER),
        origin_server_ts: intent.origin_server_ts,
    };
    let depth = draft.depth;
    let hashed = draft.hash(work.rules()).map_err(refuse_build)?;
    let event_id = hashed.event_id().to_owned();
    let pdu = || {
        Pdu::from_checked(event_id.clone(), &hashed.unsigned_json(), false)
            .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, chain(&error)))
    };
    if ordinary {
        work.check_message(&intent.r#type, &authors, pdu)?;
    } else {
        let pdu = pdu()?;
        work.check(&pdu, &authors)
            .map_err(|stop| explain_member(stop, &intent.r#type, replaced.as_deref(), &pdu))?;
    }
    let built = hashed.sign(&work.env.server_name, &work.env.signing_key).map_err(refuse_build)?;
    let prev_nids = prev_events.iter().map(|latest| latest.nid).collect();
    let event = NewLocal { intent, sender, built, depth, authors: &authors, prev_nids, replaced, visibility };
    let sent = store(work, event)?;
    if let Some(redaction) = redaction {
        redaction::carry_out(work, redaction, sent.nid)?;
    }
    Ok(Sent { event_id: sent.event_id, seq: sent.seq })
}

/// An event that has passed all checks.
pub(super) struct NewLocal<'a> {
    intent: &'a Intent,
    sender: &'a UserId,
    built: Built,
    depth: i64,
    authors: &'a Authors,
    prev_nids: Vec<EventNid>,
    replaced: Option<Arc<StateEvent>>,
    visibility: HistoryVisibility,
}

struct Stored {
    nid: EventNid,
    event_id: OwnedEventId,
    seq: i64,
}

fn store(work: &mut Work<'_>, new: NewLocal<'_>) -> Result<Stored, Stop> {
    let nid = work.counters.event();
    let draft = StoredDraft {
        nid,
        event_id: new.built.event_id,
        json: new.built.json,
        event_type: &new.intent.r#type,
        state_key: new.intent.state_key.as_deref(),
        sender: new.sender,
        depth: new.depth,
        auth_generation: new.authors.generation(),
        origin_server_ts: new.intent.origin_server_ts,
        auth_nids: new.authors.nids(),
        prev_nids: new.prev_nids,
        replaced: new.replaced,
        visibility: new.visibility,
    };
    insert(work, draft, Some(new.intent))
}

/// What is written of an event.
pub(super) struct StoredDraft<'a> {
    pub(super) nid: EventNid,
    pub(super) event_id: OwnedEventId,
    pub(super) json: Vec<u8>,
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) sender: &'a UserId,
    pub(super) depth: i64,
    pub(super) auth_generation: i32,
    pub(super) origin_server_ts: i64,
    pub(super) auth_nids: Vec<EventNid>,
    pub(super) prev_nids: Vec<EventNid>,
    pub(super) replaced: Option<Arc<StateEvent>>,
    pub(super) visibility: HistoryVisibility,
}

/// Makes an event the room's latest one: state, members, rows and the output record.
fn insert(work: &mut Work<'_>, draft: StoredDraft<'_>, intent: Option<&Intent>) -> Result<Stored, Stop> {
    let json = bytes(draft.json);
    let seq = work.counters.next_seq;
    let mut event = StoredEvent {
        nid: draft.nid,
        event_id: draft.event_id.clone(),
        room_nid: work.room.identity.nid,
        event_type: draft.event_type.to_owned(),
        state_key: draft.state_key.map(str::to_owned),
        sender: draft.sender.to_owned(),
        depth: draft.depth,
        flags: flags::LOCAL,
        auth_generation: draft.auth_generation,
        members_root: None,
        other_root: None,
        seq: Some(seq),
        json: json.clone(),
    };
    let mut visibility = draft.visibility;
    let mut delta = StateDelta::default();
    if let Some(state_key) = draft.state_key {
        let parsed = StateEvent::parse(&event)
            .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, chain(&error)))?;
        if draft.event_type == "m.room.history_visibility" && state_key.is_empty() {
            visibility = visibility.max(parsed.visibility);
        }
        if draft.event_type == MEMBER {
            change_member(work, state_key, draft.replaced.as_deref(), &parsed, seq)?;
        }
        work.set_state(draft.event_type, state_key, parsed)?;
        delta.changes.push(StateChange {
            r#type: draft.event_type.to_owned(),
            state_key: state_key.to_owned(),
            event_id: draft.event_id.to_string(),
            replaces_event_id: draft
                .replaced
                .as_ref()
                .map(|old| old.event_id.to_string())
                .unwrap_or_default(),
        });
    }
    event.members_root = work.room.members.root();
    event.other_root = work.room.other.root();
    work.room.depth = work.room.depth.max(draft.depth);
    work.room.latest = vec![Latest { nid: draft.nid, event_id: draft.event_id.clone(), depth: draft.depth }];
    let txn = intent.and_then(|intent| intent.txn.clone());
    let (txn_device_id, txn_id) = match &txn {
        Some(txn) => (Some(txn.device_id.clone()), Some(txn.txn_id.clone())),
        None => (None, None),
    };
    let record = NewEvent {
        event_id: draft.event_id.to_string(),
        json,
        latest_event_ids: vec![draft.event_id.to_string()],
        depth: unsigned(draft.depth),
        delta: Some(delta),
        visibility: visibility.into(),
        txn,
        soft_failed: false,
    };
    work.put_out(Some(draft.nid), Body::NewEvent(record));
    work.rows.events.push(EventRow {
        event: Arc::new(event),
        origin_server_ts: draft.origin_server_ts,
        received_ts: work.record.produced_ts,
        visibility: visibility_column(visibility),
        auth_nids: draft.auth_nids,
        prev_nids: draft.prev_nids,
        replaces_nid: draft.replaced.map(|old| old.nid),
        txn_device_id,
        txn_id,
    });
    Ok(Stored { nid: draft.nid, event_id: draft.event_id, seq })
}

/// Makes the create event the first one of its room.
pub(super) fn insert_create(work: &mut Work<'_>, draft: StoredDraft<'_>) -> Result<(), Stop> {
    insert(work, draft, None).map(|_| ())
}

/// Follows a change of somebody's membership in the counts and in `current_members`.
fn change_member(
    work: &mut Work<'_>,
    user: &str,
    before: Option<&StateEvent>,
    after: &StateEvent,
    seq: i64,
) -> Result<(), Stop> {
    let user_id = UserId::parse(user).map_err(|error| {
        Stop::Refuse(ErrorReason::InvalidParam, format!("`state_key` is not a user ID: {error}"))
    })?;
    let was = before.and_then(|event| event.membership.as_deref());
    let is = after.membership.as_deref().unwrap_or_default();
    let change = |membership: &str| i32::from(is == membership) - i32::from(was == Some(membership));
    work.room.joined_members += change("join");
    work.room.invited_members += change("invite");
    work.rows.members.push(MemberRow {
        room_nid: work.room.identity.nid,
        user_id,
        membership: is.to_owned(),
        event_nid: after.nid,
        seq,
    });
    Ok(())
}

/// The forward extremities to cite: the newest ones.
fn cited(work: &Work<'_>) -> Vec<Latest> {
    let mut latest = work.room.latest.clone();
    if latest.len() > MAX_CITED {
        latest.sort_by(|a, b| b.depth.cmp(&a.depth).then_with(|| b.nid.cmp(&a.nid)));
        latest.truncate(MAX_CITED);
    }
    latest
}

/// Whether verdicts on messages of this type depend on nothing but the sender's standing.
fn is_ordinary(event_type: &TimelineEventType) -> bool {
    !matches!(
        event_type,
        TimelineEventType::RoomCreate
            | TimelineEventType::RoomMember
            | TimelineEventType::RoomPowerLevels
            | TimelineEventType::RoomThirdPartyInvite
    )
}

/// Reads the ID of a user of this server.
pub(super) fn local_user<'i>(work: &Work<'_>, user: &'i str) -> Result<&'i UserId, Stop> {
    let user = <&UserId>::try_from(user)
        .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, format!("user ID: {error}")))?;
    if user.server_name() == work.env.server_name {
        Ok(user)
    } else {
        Err(Stop::Refuse(ErrorReason::InvalidParam, "the user is not one of this server".to_owned()))
    }
}

fn is_unchanged(current: &StateEvent, sender: &UserId, content: &canonical::Object) -> bool {
    use ruma::state_res::Event as _;
    current.pdu.sender() == sender
        && current.pdu.content_text().as_bytes() == canonical::object_to_vec(content)
}

/// What goes into the event's own `redacts`: versions 11 and later have it in the content.
fn top_level<'r>(work: &Work<'_>, redacts: Option<&'r EventId>) -> Option<&'r EventId> {
    redacts.filter(|_| !work.rules().rules.redaction.content_field_redacts)
}

/// Gives a refused change of membership the reason clients can act on.
fn explain_member(stop: Stop, event_type: &str, current: Option<&StateEvent>, event: &Pdu) -> Stop {
    use ruma::state_res::Event as _;
    let own = event.state_key() == Some(event.sender().as_str());
    let banned = current.and_then(|event| event.membership.as_deref()) == Some("ban");
    match stop {
        Stop::Refuse(ErrorReason::Forbidden, message) if event_type == MEMBER && own && banned => {
            Stop::Refuse(ErrorReason::Banned, message)
        }
        stop => stop,
    }
}

pub(super) fn refuse_build(error: BuildError) -> Stop {
    let reason = match &error {
        BuildError::FieldTooLarge(_) | BuildError::TooLarge | BuildError::TooMany(_) => ErrorReason::TooLarge,
        BuildError::OutOfRange(_) | BuildError::RoomId => ErrorReason::InvalidParam,
        BuildError::Content(_) | BuildError::Serialize(_) => ErrorReason::BadJson,
        BuildError::Version(_) => ErrorReason::UnsupportedRoomVersion,
    };
    Stop::Refuse(reason, chain(&error))
}

/// Writes an error with what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn raw(json: Vec<u8>) -> Result<Box<RawValue>, Stop> {
    let text =
        String::from_utf8(json).map_err(|error| Stop::Refuse(ErrorReason::BadJson, error.to_string()))?;
    RawValue::from_string(text).map_err(|error| Stop::Refuse(ErrorReason::BadJson, error.to_string()))
}

fn visibility_column(visibility: HistoryVisibility) -> i16 {
    i16::try_from(i32::from(visibility)).unwrap_or(3)
}
