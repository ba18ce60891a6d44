//! The way in: one input, one outcome.

use plexus_events::SigningKey;
use plexus_log::partition_of;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{InputRoomEvent, input_room_event::Body},
};
use ruma::{OwnedServerName, RoomId};

use super::{
    control, create,
    ids::Counters,
    intent,
    outcome::{Outcome, rejected},
    room::Room,
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
    match (body, room) {
        (Body::Batch(_), Some(_)) => Err(Stop::Refuse(ErrorReason::RoomInUse, "the room exists".to_owned())),
        (Body::Batch(batch), None) => create::apply(batch, room_id, input, source, counters, env),
        (Body::Intent(intent), Some(room)) => intent::apply(work(room), intent),
        (Body::Control(control), Some(room)) => control::apply(work(room), control),
        // The receipt of events that other servers made comes with federation: checks of the specification in its
        // order, parking of what lacks its ancestors, state resolution, soft failure.
        (Body::Pdu(_), _) => {
            let message = "events of other servers are not received yet";
            Err(Stop::Refuse(ErrorReason::InvalidParam, message.to_owned()))
        }
        (Body::Intent(_) | Body::Control(_), None) => {
            Err(Stop::Refuse(ErrorReason::RoomUnknown, "the room is not known here".to_owned()))
        }
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
