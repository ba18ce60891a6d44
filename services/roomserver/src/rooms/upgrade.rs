//! Upgrades a room: its own partition decides which upgrade wins, and keeps the new room until it has been made.
//!
//! A room is replaced once. The tombstone, the aliases and the directory change in one step, so that whatever is cut off
//! here, they name the same room. What the new room begins with is tried out first: once there is a tombstone, the room
//! that it names can be made.

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
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
    create,
    directory::{has_directory_power, local_alias, publish},
    input::RoomInput,
    intent,
    load_request::AliasTarget,
    loaded_data::LoadedData,
    outcome::{Outcome, accepted},
    rows::{AliasRow, UpgradeRow},
    work::{Stop, Work, all, bytes, local_user},
};

const TOMBSTONE: &str = "m.room.tombstone";
/// Most aliases that are moved.
const MAX_ALIASES: usize = 1000;
/// Most entries of the state that are compared, and most events that follow the tombstone.
const MAX_ENTRIES: usize = 100;

/// Replaces the room.
pub(super) fn apply(work: &mut Work<'_>, request: &UpgradeRoom) -> Result<Verdict, Stop> {
    let user = local_user(work, &request.user_id)?;
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
    check_expected(work, request)?;
    let aliases = movable(work, user, &request.aliases)?;
    let content = json!({ "body": "This room has been replaced", "replacement_room": new_id });
    let tombstone = Intent {
        sender: user.to_string(),
        r#type: TOMBSTONE.to_owned(),
        state_key: Some(String::new()),
        content: content.to_string().into_bytes().into(),
        origin_server_ts: work.record.produced_ts,
        ..Intent::default()
    };
    let tombstone = intent::send(work, &tombstone)?;
    let record = new_room(work, &new_id, batch);
    try_out(work, &new_id, &record, batch, &aliases)?;
    let able = has_directory_power(work, user)?;
    move_aliases(work, &new_id, aliases);
    for closing in &request.closing {
        match intent::send(work, closing) {
            Ok(_) | Err(Stop::Refuse(..)) => {}
            Err(stop) => return Err(stop),
        }
    }
    if able && work.room.published {
        publish(work, false);
    }
    work.rows.upgrades.push(UpgradeRow {
        new_room_id: new_id,
        old_room_id: work.room_id().to_owned(),
        partition: work.room.identity.partition,
        record: bytes(record.encode_to_vec()),
        created_ts: work.record.produced_ts,
    });
    let seq = work.room.last_seq;
    Ok(accepted(Some(&tombstone.event_id), seq))
}

/// Refuses an upgrade that was made of a state which is not the room's any more, or of a room that was replaced.
fn check_expected(work: &mut Work<'_>, request: &UpgradeRoom) -> Result<(), Stop> {
    let found = all(request
        .expected
        .iter()
        .map(|expected| Ok((work.state(&expected.r#type, &expected.state_key)?, &expected.event_id))));
    let tombstone = work.state(TOMBSTONE, "")?;
    let found = found?;
    if tombstone.is_some_and(|tombstone| replacement(&tombstone.pdu).is_some()) {
        return bad_state("the room has been replaced already");
    }
    let mut is_same = request.published == work.room.published;
    for (event, expected) in found {
        is_same &= event.map_or(expected.is_empty(), |event| event.event_id == expected.as_str());
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
    let (mut movable, mut missing) = (Vec::with_capacity(aliases.len()), false);
    for alias in aliases {
        let alias = local_alias(work, alias)?;
        match work.loaded.aliases.get(&alias) {
            Some(Some(target)) if target.room_id == work.room_id() => {
                if able || target.creator == user {
                    movable.push((alias, target.clone()));
                }
            }
            Some(_) => return bad_state("an alias has gone meanwhile"),
            None => missing |= work.request.aliases.insert(alias),
        }
    }
    if missing { Err(Stop::Missing) } else { Ok(movable) }
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
    let mut loaded = LoadedData::default();
    loaded.aliases.clone_from(&work.loaded.aliases);
    loaded.profiles.clone_from(&work.loaded.profiles);
    for (alias, target) in moved {
        let target = AliasTarget { room_id: new_id.to_owned(), creator: target.creator.clone() };
        loaded.aliases.insert(alias.clone(), Some(target));
    }
    let input = RoomInput::new(plexus_log::partition_of(new_id.as_str()), record.clone());
    match create::apply(batch, new_id, &input, &loaded, work.counters, work.env)? {
        Outcome::Load(request) => {
            work.request = *request;
            Err(Stop::Missing)
        }
        _tried => Ok(()),
    }
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
