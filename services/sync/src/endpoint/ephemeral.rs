//! Ephemeral events of a room: typing and receipts.

use std::{collections::BTreeMap, sync::Arc};

use ruma::OwnedUserId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use super::{
    context::{Context, Problem},
    response::Events,
};
use crate::view::{MEMBER, Membership, Receipt, Room};

/// The ephemeral part of a room.
#[derive(Debug, Default)]
pub(crate) struct Ephemeral {
    pub(crate) events: Events,
    /// Whether the user has read something, whether or not the client wants to be told so: counts follow from it.
    pub(crate) own_receipts: bool,
}

#[derive(Serialize)]
struct Event<C: Serialize> {
    #[serde(rename = "type")]
    kind: &'static str,
    content: C,
}

#[derive(Serialize)]
struct TypingContent {
    user_ids: Vec<OwnedUserId>,
}

/// By event, type and user.
type ReceiptContent<'a> = BTreeMap<&'a str, BTreeMap<&'static str, BTreeMap<&'a str, ReceiptData<'a>>>>;

#[derive(Serialize)]
struct ReceiptData<'a> {
    ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
}

/// Makes the ephemeral part of a room that is loaded. `since`: what the client knows of the room, if it knows it.
pub(crate) fn ephemeral(
    context: &Context<'_>,
    room: &Room,
    since: Option<u64>,
    end: u64,
) -> Result<Ephemeral, Problem> {
    let filter = &context.request.filter.ephemeral;
    let mut events = Vec::new();
    if filter.wants_ephemeral("m.typing", &room.id) {
        events.extend(typing(context, room, since.is_some())?);
    }
    let read = room.read(|view| receipts(context, view.receipts().between(since.unwrap_or(0), end)));
    let (own_receipts, receipts) = read.ok_or(Problem::Gone)?;
    events.extend(receipts.filter(|_| filter.wants_ephemeral("m.receipt", &room.id)));
    Ok(Ephemeral { events: Events { events }, own_receipts })
}

/// Receipts as one event, if there are any that the user may see, and whether there are some of the user's own.
pub(super) fn receipts<'a>(
    context: &Context<'_>,
    all: impl Iterator<Item = &'a Receipt>,
) -> (bool, Option<Arc<RawValue>>) {
    let mut own = false;
    let mut content = ReceiptContent::new();
    for receipt in all {
        let is_own = receipt.user == context.user_id();
        own |= is_own;
        if (is_own || !receipt.private) && !context.attention.ignored.contains(&receipt.user) {
            put(&mut content, receipt);
        }
    }
    (own, (!content.is_empty()).then(|| event("m.receipt", content)).flatten())
}

/// Puts a receipt where clients look for it. There is room for one of each type and user at an event: where one regards
/// no threads, it says more than the others.
fn put<'a>(content: &mut ReceiptContent<'a>, receipt: &'a Receipt) {
    let of_type = content.entry(receipt.event_id.as_str()).or_default().entry(receipt.kind()).or_default();
    let data = ReceiptData { ts: receipt.ts, thread_id: receipt.scope.as_str() };
    match of_type.get(receipt.user.as_str()) {
        Some(known) if known.thread_id.is_none() => {}
        Some(_) | None => drop(of_type.insert(receipt.user.as_str(), data)),
    }
}

/// Who types, if that changed for the client.
pub(super) fn typing(
    context: &Context<'_>,
    room: &Room,
    known: bool,
) -> Result<Option<Arc<RawValue>>, Problem> {
    let since = context.since.as_ref().filter(|_| known);
    let changed = since.is_none_or(|since| {
        let position = since.live.get(room.partition).copied().unwrap_or_default();
        room.typing.changed_since(position, i64::try_from(since.at).unwrap_or(i64::MAX), context.now)
    });
    if !changed {
        return Ok(None);
    }
    let typists = room.typing.users(context.now);
    // Who has left does not type, whatever was said before.
    let user_ids = room.read(|view| {
        let is_in = |user: &OwnedUserId| {
            view.get(MEMBER, user.as_str()).and_then(|event| event.membership) == Some(Membership::Join)
        };
        let seen =
            typists.into_iter().filter(|user| is_in(user) && !context.attention.ignored.contains(user));
        seen.collect::<Vec<_>>()
    });
    let user_ids = user_ids.ok_or(Problem::Gone)?;
    if since.is_none() && user_ids.is_empty() {
        return Ok(None);
    }
    Ok(event("m.typing", TypingContent { user_ids }))
}

fn event<C: Serialize>(kind: &'static str, content: C) -> Option<Arc<RawValue>> {
    to_raw_value(&Event { kind, content })
        .inspect_err(|failure| error!(kind, error = %failure, "ephemeral event cannot be shown"))
        .map(Arc::from)
        .ok()
}
