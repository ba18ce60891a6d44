//! Creates rooms: the create event and all that follows, or nothing.

use std::sync::Arc;

use plexus_events::{Object, Pdu, RoomRules, auth, canonical, hash, verify};
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::Verdict,
    log::v1::{AtomicBatch, HistoryVisibility, Intent},
};
use ruma::{EventId, OwnedEventId, RoomId, UserId, state_res::Event as _};

use super::{
    directory,
    ids::Counters,
    input::{Env, RoomInput},
    insert_event::{Disposition, EventInsert, insert_event},
    intent,
    loaded_data::LoadedData,
    outcome::{Outcome, accepted},
    room::{Identity, Inner, Room},
    states::StateRef,
    work::{Stop, Work},
};
use crate::error_chain::chain;

/// Most events after the create event.
const MAX_INTENTS: usize = 1000;

/// Applies a batch that makes a room.
pub(super) fn apply(
    batch: &AtomicBatch,
    room_id: &RoomId,
    input: &RoomInput,
    loaded: &LoadedData,
    mut counters: Counters,
    env: &Env,
) -> Result<Outcome, Stop> {
    if batch.intents.len() > MAX_INTENTS {
        return Err(invalid("the batch has more than 1,000 events"));
    }
    let rules = RoomRules::of(&batch.room_version)
        .map_err(|error| Stop::Refuse(ErrorReason::UnsupportedRoomVersion, error.to_string()))?;
    let created = check_create(batch, room_id, rules, env)?;
    let identity = Identity {
        nid: counters.room(),
        room_id: room_id.to_owned(),
        partition: input.partition,
        rules,
        create_nid: counters.event(),
        create_id: created.pdu.id().to_owned(),
    };
    let room = Room { inner: Arc::new(Inner::empty(identity)) };
    let mut work = Work::new(&room, &input.record, loaded, counters, env);
    work.rows.room_is_new = true;
    work.run(|work| fill(work, batch, &created))
}

/// Gives the new room all its events.
fn fill(work: &mut Work<'_>, batch: &AtomicBatch, created: &Created) -> Result<Verdict, Stop> {
    let create_id = insert_create(work, created)?;
    // The alias comes first: `m.room.canonical_alias` may name it.
    if !batch.alias.is_empty() {
        point_alias(work, &batch.alias, created.pdu.sender())?;
    }
    for (index, item) in batch.intents.iter().enumerate() {
        intent::send(work, item).map_err(|stop| explain(stop, index, item))?;
    }
    if batch.published {
        directory::publish(work, true);
    }
    Ok(accepted(Some(&create_id), work.room.last_seq))
}

/// A create event that has passed all checks.
struct Created {
    pdu: Pdu,
    json: Vec<u8>,
}

fn check_create(
    batch: &AtomicBatch,
    room_id: &RoomId,
    rules: &RoomRules,
    env: &Env,
) -> Result<Created, Stop> {
    let mut event = canonical::parse_object(&batch.create_pdu)
        .map_err(|error| invalid(format!("create event: {}", chain(&error))))?;
    if event.contains_key("signatures") || event.contains_key("unsigned") {
        return Err(invalid("the create event carries signatures or unsigned data"));
    }
    let text = |field: &str| event.get(field).and_then(canonical::Value::as_str);
    if text("type") != Some("m.room.create") || text("state_key") != Some("") {
        return Err(invalid("the first event of the batch is not a create event"));
    }
    if !hash::content_hash_matches(&event) {
        return Err(invalid("the content hash of the create event is wrong"));
    }
    let version = event.get("content").and_then(|content| content.as_object()?.get("room_version")?.as_str());
    if version.unwrap_or("1") != batch.room_version {
        return Err(invalid("the create event names another room version"));
    }
    let event_id = hash::event_id(&event, rules).map_err(|error| invalid(error.to_string()))?;
    if rules.room_id_is_create_hash() {
        if event_id.as_str().strip_prefix('$') != room_id.as_str().strip_prefix('!') {
            return Err(invalid("the room ID is not the reference hash of the create event"));
        }
    } else if text("room_id") != Some(room_id.as_str()) {
        return Err(invalid("the create event is of another room"));
    } else if room_id.server_name() != Some(&*env.server_name) {
        return Err(invalid("the room ID is not one of this server"));
    }
    sign(&mut event, rules, env)?;
    verify::check_format(&event, rules).map_err(|error| invalid(error.to_string()))?;
    let json = canonical::object_to_vec(&event);
    let pdu = Pdu::from_checked(event_id, &json, false).map_err(|error| invalid(chain(&error)))?;
    check_fields(&pdu, rules, env)?;
    Ok(Created { pdu, json })
}

fn sign(event: &mut Object, rules: &RoomRules, env: &Env) -> Result<(), Stop> {
    plexus_events::signing::sign_event(event, &env.server_name, &env.signing_key, rules)
        .map_err(|error| invalid(chain(&error)))
}

fn check_fields(pdu: &Pdu, rules: &RoomRules, env: &Env) -> Result<(), Stop> {
    if pdu.sender().server_name() != env.server_name {
        return Err(invalid("the creator is not a user of this server"));
    }
    if !pdu.auth_event_ids().is_empty() {
        return Err(invalid("the create event cites auth events"));
    }
    if pdu.depth() != 1 {
        return Err(invalid("the depth of the create event is not 1"));
    }
    auth::check_independent(pdu, rules, |_: &EventId| None).map_err(|refused| invalid(refused.0))
}

fn insert_create(work: &mut Work<'_>, created: &Created) -> Result<OwnedEventId, Stop> {
    let sender: &UserId = created.pdu.sender();
    let event_id = created.pdu.event_id().clone();
    let event = EventInsert {
        nid: work.room.identity.create_nid,
        event_id: event_id.clone(),
        json: created.json.clone(),
        event_type: "m.room.create",
        state_key: Some(""),
        sender,
        depth: created.pdu.depth(),
        auth_generation: 0,
        origin_server_ts: created.pdu.origin_server_ts().get().into(),
        auth_nids: Vec::new(),
        visibility: HistoryVisibility::Shared,
        txn: None,
        was_outlier: false,
        relay: true,
        gap_before: false,
    };
    insert_event(work, event, Disposition::Extremity, &StateRef::Current, &[])?;
    Ok(event_id)
}

fn point_alias(work: &mut Work<'_>, alias: &str, creator: &UserId) -> Result<(), Stop> {
    let alias = directory::local_alias(work, alias)?;
    if directory::find_alias(work, &alias)?.is_some() {
        return Err(Stop::Refuse(ErrorReason::RoomInUse, format!("the alias {alias} is taken")));
    }
    directory::add_alias(work, alias, creator)?;
    Ok(())
}

/// Says which event of the batch is refused. The rules refuse it: then the state asked for is not a valid one.
fn explain(stop: Stop, index: usize, intent: &Intent) -> Stop {
    match stop {
        Stop::Refuse(reason, message) => {
            let reason = match reason {
                ErrorReason::Forbidden | ErrorReason::NotJoined | ErrorReason::Banned => {
                    ErrorReason::InvalidRoomState
                }
                other => other,
            };
            let event_type: String = intent.r#type.chars().take(64).collect();
            Stop::Refuse(reason, format!("event {index} ({event_type}): {message}"))
        }
        stop => stop,
    }
}

fn invalid(message: impl Into<String>) -> Stop {
    Stop::Refuse(ErrorReason::InvalidRoomState, message.into())
}
