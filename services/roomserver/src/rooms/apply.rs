//! The way in: one input, one outcome.

use plexus_events::SigningKey;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, Pdu, input_room_event::Body},
};
use ruma::{OwnedServerName, RoomId};

use super::{
    control, create,
    ids::{Counters, ParkedNid},
    intent,
    outcome::{Outcome, rejected},
    parking, receive,
    room::Room,
    snapshot,
    source::Source,
    work::{Stop, Work},
};

/// Format version of the records that are understood.
const RECORD_VERSION: u32 = 1;
/// Most bytes of a room ID.
const MAX_ROOM_ID_BYTES: usize = 255;

/// An input as read from the log.
#[derive(Debug, Clone)]
pub(crate) struct RoomInput {
    /// Partition it was read from.
    pub(crate) partition: u32,
    /// The record.
    pub(crate) record: InputRoomEvent,
    /// Set if the record is that of a parked event that lacks nothing any more.
    pub(crate) parked: Option<ParkedNid>,
    /// How many events follow it in its batch.
    pub(crate) following: u16,
}

impl RoomInput {
    /// A record as it was read.
    pub(crate) fn new(partition: u32, record: InputRoomEvent) -> Self {
        Self { partition, record, parked: None, following: 0 }
    }
}

/// What is the same for all rooms.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    /// Name of this server.
    pub(crate) server_name: OwnedServerName,
    /// The key that signs events.
    pub(crate) signing_key: SigningKey,
}

/// Decides what becomes of an input.
///
/// `room` is the room as it is after all inputs before this one, `None` if there is no such room. Repeats are not
/// recognized here: the caller knows the verdicts by `input_id` and [`super::txn_key`].
pub(crate) fn apply(
    room: Option<&Room>,
    input: &RoomInput,
    source: &Source,
    counters: Counters,
    env: &Env,
) -> Outcome {
    match decide(room, input, source, counters, env) {
        Ok(outcome) => outcome,
        Err(Stop::Need(needs)) => Outcome::Need(needs),
        Err(Stop::Refuse(reason, message)) => Outcome::Refused(rejected(reason, message)),
        Err(Stop::Poison(why)) => Outcome::Poison(why),
        Err(Stop::Overrun) => Outcome::Overrun,
    }
}

fn decide(
    room: Option<&Room>,
    input: &RoomInput,
    source: &Source,
    counters: Counters,
    env: &Env,
) -> Result<Outcome, Stop> {
    let record = &input.record;
    let room_id = check_record(input)?;
    if room.is_some_and(|room| room.room_id() != room_id) {
        return Err(Stop::Poison("the record was handed to another room".to_owned()));
    }
    let work = |room: &Room| Work::new(room, record, source, counters, env);
    let Some(body) = &record.body else {
        return Err(Stop::Poison("the record has no body that this version knows".to_owned()));
    };
    let known = room.filter(|room| !room.is_incipient());
    match (body, room) {
        (Body::Pdus(_), _) => Err(Stop::Poison("a batch of events is applied event by event".to_owned())),
        (Body::Snapshot(chunk), None) => snapshot::begin(chunk, room_id, input, source, counters, env),
        (Body::Snapshot(chunk), Some(room)) => snapshot::apply(work(room), chunk),
        (Body::Pdu(pdu), Some(room)) => match (receive::apply(work(room), input, pdu), input.parked) {
            // It cannot stay where it was: nothing would ever call it up again.
            (Err(Stop::Refuse(_, why) | Stop::Poison(why)), Some(nid)) => {
                parking::abandon(work(room), nid, &why)
            }
            (done, _) => done,
        },
        (Body::Batch(_), Some(_)) => Err(Stop::Refuse(ErrorReason::RoomInUse, "the room exists".to_owned())),
        (Body::Batch(batch), None) => create::apply(batch, room_id, input, source, counters, env),
        (body, _) => match (body, known) {
            (Body::Intent(intent), Some(room)) => intent::apply(work(room), intent),
            (Body::Control(control), Some(room)) => control::apply(work(room), control),
            (Body::FetchDone(done), Some(room)) => parking::fetch_done(work(room), done),
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
