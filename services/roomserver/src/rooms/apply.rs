//! Dispatches an input to the function that decides on it, and tells its outcome.

use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, Pdu, input_room_event::Body},
};
use ruma::RoomId;

use super::{
    control, create,
    ids::Counters,
    input::{Env, RoomInput},
    intent,
    loaded_data::LoadedData,
    outcome::{Outcome, rejected},
    parking, receive,
    room::Room,
    snapshot,
    work::{Stop, Work},
};

/// Format version of the records that are understood.
const RECORD_VERSION: u32 = 1;
/// Most bytes of a room ID.
const MAX_ROOM_ID_BYTES: usize = 255;

/// Decides what becomes of an input.
///
/// `room` is the room as it is after all inputs before this one, `None` if there is no such room. Repeats are not
/// recognized here: the caller knows the verdicts by `input_id` and [`super::txn_key`].
pub(crate) fn apply(
    room: Option<&Room>,
    input: &RoomInput,
    loaded: &LoadedData,
    counters: Counters,
    env: &Env,
) -> Outcome {
    match decide(room, input, loaded, counters, env) {
        Ok(outcome) => outcome,

        Err(Stop::Refuse(reason, message)) => Outcome::Refused(rejected(reason, message)),
        Err(Stop::Poison(why)) => Outcome::Poison(why),
        Err(Stop::Overrun) => Outcome::Overrun,
        Err(Stop::Missing) => Outcome::Poison("something is missing and nobody asks for it".to_owned()),
    }
}

fn decide(
    room: Option<&Room>,
    input: &RoomInput,
    loaded: &LoadedData,
    counters: Counters,
    env: &Env,
) -> Result<Outcome, Stop> {
    let record = &input.record;
    let room_id = check_record(input)?;
    if room.is_some_and(|room| room.room_id() != room_id) {
        return Err(Stop::Poison("the record was handed to another room".to_owned()));
    }
    let work = |room: &Room| Work::new(room, record, loaded, counters, env);
    let Some(body) = &record.body else {
        return Err(Stop::Poison("the record has no body that this version knows".to_owned()));
    };
    let known = room.filter(|room| !room.is_incipient());
    match (body, room) {
        (Body::Pdus(_), _) => Err(Stop::Poison("a batch of events is applied event by event".to_owned())),
        (Body::Snapshot(chunk), None) => snapshot::begin(chunk, room_id, input, loaded, counters, env),
        (Body::Snapshot(chunk), Some(room)) => work(room).run(|work| snapshot::apply(work, chunk)),
        (Body::Pdu(pdu), Some(room)) => {
            match (work(room).run(|work| receive::apply(work, input, pdu)), input.parked) {
                // It cannot stay where it was: nothing would ever call it up again.
                (Err(Stop::Refuse(_, why) | Stop::Poison(why)), Some(nid)) => {
                    work(room).run(|work| parking::abandon(work, nid, &why))
                }
                (done, _) => done,
            }
        }
        (Body::Batch(_), Some(_)) => Err(Stop::Refuse(ErrorReason::RoomInUse, "the room exists".to_owned())),
        (Body::Batch(batch), None) => create::apply(batch, room_id, input, loaded, counters, env),
        (body, _) => match (body, known) {
            (Body::Intent(intent), Some(room)) => work(room).run(|work| intent::apply(work, intent)),
            (Body::Control(control), Some(room)) => work(room).run(|work| control::apply(work, control)),
            (Body::FetchDone(done), Some(room)) => work(room).run(|work| parking::fetch_done(work, done)),
            _ => Err(parking::unknown_room()),
        },
    }
}

/// Checks what every record must have, whatever it asks. A record that fails can never be processed.
fn check_record(input: &RoomInput) -> Result<&RoomId, Stop> {
    let record = &input.record;
    if record.version != RECORD_VERSION {
        return Err(Stop::Poison(format!("record version {} is not known", record.version)));
    }
    if record.input_id.len() != 16 {
        return Err(Stop::Poison("`input_id` does not have 16 bytes".to_owned()));
    }
    if record.room_id.len() > MAX_ROOM_ID_BYTES {
        return Err(Stop::Poison("`room_id` exceeds 255 bytes".to_owned()));
    }
    let room_id = <&RoomId>::try_from(record.room_id.as_str())
        .map_err(|error| Stop::Poison(format!("`room_id` is malformed: {error}")))?;
    let partition = partition_of(&record.room_id);
    if partition != input.partition {
        return Err(Stop::Poison(format!("the room belongs into partition {partition}")));
    }
    Ok(room_id)
}

/// Most events of a batch.
const MAX_BATCH: usize = 500;

/// Takes a batch of finished events apart: each is applied as an input of its own. `None` if the input is no such batch.
///
/// # Errors
///
/// Fails if the batch can never be processed.
pub(crate) fn parts(input: &RoomInput) -> Result<Option<Vec<RoomInput>>, String> {
    let Some(Body::Pdus(batch)) = &input.record.body else { return Ok(None) };
    if batch.pdus.len() > MAX_BATCH {
        return Err("the batch has more than 500 events".to_owned());
    }
    let part = |(following, pdu): (u16, &Pdu)| RoomInput {
        following,
        ..RoomInput::new(
            input.partition,
            InputRoomEvent { body: Some(Body::Pdu(pdu.clone())), ..input.record.clone() },
        )
    };
    let mut parts: Vec<RoomInput> = (0..).zip(batch.pdus.iter().rev()).map(part).collect();
    parts.reverse();
    Ok(Some(parts))
}
