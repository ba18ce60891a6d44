//! Upgrades: the old room's own partition decides which one wins, and keeps the new room until it has been made.
//!
//! A room is replaced once. The tombstone, the aliases and the directory change in one step, so that whatever is cut off
//! here, they name the same room. What the new room begins with is tried out first: once there is a tombstone, the room
//! that it names can be made.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AtomicBatch, DirectoryChange, InputRoomEvent, Intent, UpgradeRoom, input_room_event,
        output_room_event::Body,
    },
};
use prost::Message as _;
use ruma::{OwnedRoomAliasId, RoomId, UserId};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    apply::RoomInput,
    control::{has_directory_power, local_alias, publish},
    create,
    intent::{self, local_user},
    outcome::{AliasRow, Outcome, UpgradeRow, accepted},
    source::{AliasTarget, Source},
    work::{Stop, Work, bytes},
};

const TOMBSTONE: &str = "m.room.tombstone";
/// Most aliases that are moved.
const MAX_ALIASES: usize = 1000;
/// Most entries of the state that are compared, and most events that follow the tombstone.
const MAX_ENTRIES: usize = 100;

/// Replaces the room.
pub(super) fn apply(mut work: Work<'_>, request: &UpgradeRoom) -> Result<Outcome, Stop> {
    let user = local_user(&work, &request.user_id)?;
    let new_id = RoomId::parse(&request.new_room_id)
        .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, format!("new_room_id: {error}")))?;
    let Some(batch) = &request.batch else {
        return Err(Stop::Poison("the upgrade says nothing of the new room".to_owned()));
    };
    if request.aliases.len() > MAX_ALIASES || request.expected.len().max(request.closing.len()) > MAX_ENTRIES
    {
        return Err(Stop::Poison("the upgrade names too much".to_owned()));
    }
    work.require_joined(user)?;
    check_expected(&mut work, request)?;
    let aliases = movable(&mut work, user, &request.aliases)?;
    let content = json!({ "body": "This room has been replaced", "replacement_room": new_id });
    let tombstone = Intent {
        sender: user.to_string(),
        r#type: TOMBSTONE.to_owned(),
        state_key: Some(String::new()),
        content: content.to_string().into_bytes().into(),
        origin_server_ts: work.record.produced_ts,
        ..Intent::default()
    };
    let tombstone = intent::send(&mut work, &tombstone)?;
    let record = new_room(&work, &new_id, batch);
    try_out(&mut work, &new_id, &record, batch, &aliases)?;
    let able = has_directory_power(&mut work, user)?;
    move_aliases(&mut work, &new_id, aliases);
    for closing in &request.closing {
        match intent::send(&mut work, closing) {
            Ok(_) | Err(Stop::Refuse(..)) => {}
            Err(stop) => return Err(stop),
        }
    }
    if able && work.room.published {
        publish(&mut work, false);
    }
    work.rows.upgrades.push(UpgradeRow {
        new_room_id: new_id,
        old_room_id: work.room_id().to_owned(),
        partition: work.room.identity.partition,
        record: bytes(record.encode_to_vec()),
        created_ts: work.record.produced_ts,
    });
    let seq = work.room.last_seq;
    Ok(work.applied(accepted(Some(&tombstone.event_id), seq)))
}

/// Refuses an upgrade that was made of a state which is not the room's any more, or of a room that was replaced.
fn check_expected(work: &mut Work<'_>, request: &UpgradeRoom) -> Result<(), Stop> {
    let mut found = Vec::with_capacity(request.expected.len());
    for expected in &request.expected {
        found.push((work.state(&expected.r#type, &expected.state_key)?, &expected.event_id));
    }
    let tombstone = work.state(TOMBSTONE, "")?;
    work.settle()?;
    if tombstone.flatten().is_some_and(|tombstone| replacement(&tombstone.pdu).is_some()) {
        return bad_state("the room has been replaced already");
    }
    let mut is_same = request.published == work.room.published;
    for (event, expected) in found {
        is_same &= event.flatten().map_or(expected.is_empty(), |event| event.event_id == expected.as_str());
    }
    if !is_same {
        return bad_state("the room has changed meanwhile");
    }
    Ok(())
}

fn replacement(tombstone: &plexus_events::Pdu) -> Option<String> {
    #[derive(Deserialize)]
    struct Content {
        replacement_room: String,
    }
    let content = tombstone.content_as::<Content>().ok()?;
    Some(content.replacement_room).filter(|room| !room.is_empty())
}

fn bad_state<T>(message: &str) -> Result<T, Stop> {
    Err(Stop::Refuse(ErrorReason::BadState, message.to_owned()))
}

/// Those of the aliases that the user may remove from the room.
fn movable(
    work: &mut Work<'_>,
    user: &UserId,
    aliases: &[String],
) -> Result<Vec<(OwnedRoomAliasId, AliasTarget)>, Stop> {
    let able = has_directory_power(work, user)?;
    let mut movable = Vec::with_capacity(aliases.len());
    for alias in aliases {
        let alias = local_alias(work, alias)?;
        match work.source.aliases.get(&alias) {
            Some(Some(target)) if target.room_id == work.room_id() => {
                if able || target.creator == user {
                    movable.push((alias, target.clone()));
                }
            }
            Some(_) => return bad_state("an alias has gone meanwhile"),
            None => {
                work.needs.aliases.insert(alias);
            }
        }
    }
    work.settle()?;
    Ok(movable)
}

/// The input that makes the new room. It is the same whoever writes it how often.
fn new_room(work: &Work<'_>, new_id: &RoomId, batch: &AtomicBatch) -> InputRoomEvent {
    let named = Sha256::new().chain_update(&work.record.input_id).chain_update("upgrade").finalize();
    InputRoomEvent {
        version: work.record.version,
        input_id: named[..16].to_vec().into(),
        room_id: new_id.to_string(),
        produced_ts: work.record.produced_ts,
        traceparent: work.record.traceparent.clone(),
        body: Some(input_room_event::Body::Batch(batch.clone())),
    }
}

/// Makes the new room for a try, with the aliases pointing at it: nothing of it is kept.
fn try_out(
    work: &mut Work<'_>,
    new_id: &RoomId,
    record: &InputRoomEvent,
    batch: &AtomicBatch,
    moved: &[(OwnedRoomAliasId, AliasTarget)],
) -> Result<(), Stop> {
    let mut source = Source::default();
    source.aliases.clone_from(&work.source.aliases);
    source.profiles.clone_from(&work.source.profiles);
    for (alias, target) in moved {
        let target = AliasTarget { room_id: new_id.to_owned(), creator: target.creator.clone() };
        source.aliases.insert(alias.clone(), Some(target));
    }
    let input = RoomInput::new(plexus_log::partition_of(new_id.as_str()), record.clone());
    create::apply(batch, new_id, &input, &source, work.counters, work.env).map(drop)
}

fn move_aliases(work: &mut Work<'_>, new_id: &RoomId, aliases: Vec<(OwnedRoomAliasId, AliasTarget)>) {
    for (alias, target) in aliases {
        let gone = DirectoryChange { alias: alias.to_string(), present: false };
        work.rows.aliases_moved.push(AliasRow {
            alias,
            room_id: new_id.to_owned(),
            creator: target.creator,
            created_ts: work.record.produced_ts,
        });
        work.put_out(None, Body::Directory(gone));
    }
}
