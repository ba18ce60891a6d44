//! Moves receipts forward.

use std::sync::Arc;

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Receipt, SetReceipt, output_room_event::Body},
};
use ruma::{EventId, OwnedEventId, UserId};
use serde::Deserialize;

use super::{
    event::StoredEvent,
    load_request::ReceiptKey,
    rows::ReceiptRow,
    value::is_name,
    work::{Stop, Work, unsigned},
};

/// The thread of what is in no thread.
const MAIN: &str = "main";
/// How many relations are followed to find the thread of an event, as the specification recommends.
const MAX_HOPS: usize = 3;

/// Moves a receipt forward; returns the `seq` of the record that tells so, 0 if nothing changes.
pub(super) fn set(work: &mut Work<'_>, request: &SetReceipt) -> Result<i64, Stop> {
    let Ok(user) = <&UserId>::try_from(request.user_id.as_str()) else {
        return invalid("user_id: it is not a user ID");
    };
    let is_local = user.server_name() == work.env.server_name;
    let kind = match request.r#type.as_str() {
        "m.read" => "m.read",
        // Those of others do not leave their servers.
        "m.read.private" if is_local => "m.read.private",
        _ => return invalid("type: it is neither `m.read` nor `m.read.private` of a user of this server"),
    };
    let Ok(event_id) = <&EventId>::try_from(request.event_id.as_str()) else {
        return invalid("event_id: it is not an event ID");
    };
    let thread = request.thread_id.as_str();
    if !matches!(thread, "" | MAIN) && (EventId::parse(thread).is_err() || !is_name(thread)) {
        return invalid("thread_id: it is neither an event ID nor `main`");
    }
    work.require_joined(user)?;
    // An event that is not here may be on its way; there is nothing yet that could have been read.
    let Some(event) = find(work, event_id)? else { return Ok(0) };
    let Some(event_seq) = event.seq else { return Ok(0) };
    if !thread.is_empty() && !is_in_thread(work, &event, thread)? {
        return invalid("event_id: the event does not belong to the thread");
    }
    let key =
        ReceiptKey { room: work.room.identity.nid, user: user.to_owned(), kind, thread: thread.to_owned() };
    let known = work.found(work.loaded.receipts.get(&key), |request| {
        request.receipts.insert(key.clone());
    })?;
    if known.is_some_and(|known| known >= event_seq) {
        return Ok(0);
    }
    let ts = work.record.produced_ts;
    let receipt = Receipt {
        user_id: user.to_string(),
        r#type: kind.to_owned(),
        event_id: event_id.to_string(),
        thread_id: thread.to_owned(),
        event_seq: unsigned(event_seq),
        ts,
    };
    // The record of an earlier input of the batch is not out yet: it tells this one instead, unless the event comes
    // after it, for nobody is told of a receipt before its event.
    let seq = match work.loaded.told_receipts.get(&key) {
        Some(told) if event_seq < *told => {
            work.amended.push((*told, receipt));
            *told
        }
        Some(_) | None => work.put_out(None, Body::Receipt(receipt)),
    };
    work.rows.receipts.push(ReceiptRow { key, event_id: event_id.to_owned(), event_seq, ts, seq });
    Ok(seq)
}

fn invalid<T>(message: &str) -> Result<T, Stop> {
    Err(Stop::Refuse(ErrorReason::InvalidParam, message.to_owned()))
}

/// Finds an event of the room.
fn find(work: &mut Work<'_>, event_id: &EventId) -> Result<Option<Arc<StoredEvent>>, Stop> {
    let room = work.room.identity.nid;
    Ok(work.event_by_id(event_id)?.filter(|event| event.room_nid == room))
}

/// Whether a receipt of the thread may name the event: it is the root, is in the thread, or relates to what is.
/// In the main timeline is what is in no other thread.
fn is_in_thread(work: &mut Work<'_>, event: &Arc<StoredEvent>, thread: &str) -> Result<bool, Stop> {
    let mut event = Arc::clone(event);
    for _ in 0..=MAX_HOPS {
        if event.event_id == thread {
            return Ok(true);
        }
        let Some(relation) = Relation::of(&event) else { return Ok(thread == MAIN) };
        if relation.rel_type == "m.thread" {
            return Ok(relation.event_id == thread);
        }
        let Some(parent) = find(work, &relation.event_id)? else { return Ok(thread == MAIN) };
        event = parent;
    }
    Ok(thread == MAIN)
}

/// The relation that an event makes to another one.
#[derive(Deserialize)]
pub(super) struct Relation {
    rel_type: String,
    event_id: OwnedEventId,
}

impl Relation {
    pub(super) fn of(event: &StoredEvent) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Option<Relation>,
        }
        // A relation that makes no sense relates to nothing, nor does one that is not kept.
        let relation = serde_json::from_slice::<Event>(&event.json).ok()?.content.relates_to?;
        (is_name(&relation.rel_type) && is_name(relation.event_id.as_str())).then_some(relation)
    }
}
