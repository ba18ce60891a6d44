//! The topics. A topic is a type; nothing else in the code spells a topic name.

use std::time::Duration;

use plexus_proto::log::v1;

/// A topic: its name, the type of its records and what they are keyed by.
pub trait Topic: Send + Sync + 'static {
    /// What the log needs to know about it.
    const SPEC: TopicSpec;
    /// The records.
    type Record: prost::Message + Default + Clone + Send + Sync + 'static;
    /// The key of a record: all records of one key lie in one partition, in order.
    fn key(record: &Self::Record) -> &str;
}

/// What the log needs to know about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicSpec {
    /// Name, without the configured prefix.
    pub name: &'static str,
    /// How long records are kept.
    pub retention: Duration,
}

const HOUR: u64 = 60 * 60;

/// What writers ask of rooms: intents, PDUs, control. Read by the room server.
#[derive(Debug, Clone, Copy)]
pub struct InputRoom;

impl Topic for InputRoom {
    const SPEC: TopicSpec = TopicSpec { name: "InputRoomEvent", retention: Duration::from_secs(72 * HOUR) };
    type Record = v1::InputRoomEvent;
    fn key(record: &Self::Record) -> &str {
        &record.room_id
    }
}

/// The same as [`InputRoom`], for bulk: chunks of joins, backfill. Never in front of live traffic.
#[derive(Debug, Clone, Copy)]
pub struct InputRoomBulk;

impl Topic for InputRoomBulk {
    const SPEC: TopicSpec =
        TopicSpec { name: "InputRoomEventBulk", retention: Duration::from_secs(72 * HOUR) };
    type Record = v1::InputRoomEvent;
    fn key(record: &Self::Record) -> &str {
        &record.room_id
    }
}

/// Every fact about a room, in order of its partition's `seq`. Written by the room server.
#[derive(Debug, Clone, Copy)]
pub struct OutputRoom;

impl Topic for OutputRoom {
    const SPEC: TopicSpec =
        TopicSpec { name: "OutputRoomEvent", retention: Duration::from_secs(7 * 24 * HOUR) };
    type Record = v1::OutputRoomEvent;
    fn key(record: &Self::Record) -> &str {
        &record.room_id
    }
}

/// Commands on users. Read by the room server.
#[derive(Debug, Clone, Copy)]
pub struct InputUser;

impl Topic for InputUser {
    const SPEC: TopicSpec = TopicSpec { name: "InputUserEvent", retention: Duration::from_secs(72 * HOUR) };
    type Record = v1::InputUserEvent;
    fn key(record: &Self::Record) -> &str {
        &record.user_id
    }
}

/// Every fact about a user, in order of its partition's `seq`. Written by the room server.
#[derive(Debug, Clone, Copy)]
pub struct OutputUser;

impl Topic for OutputUser {
    const SPEC: TopicSpec =
        TopicSpec { name: "OutputUserEvent", retention: Duration::from_secs(7 * 24 * HOUR) };
    type Record = v1::OutputUserEvent;
    fn key(record: &Self::Record) -> &str {
        &record.user_id
    }
}

/// What matters only now, such as who types. Records may be lost; nothing else suffers from it. Written by those who
/// answer clients, read by those who tell clients.
#[derive(Debug, Clone, Copy)]
pub struct Ephemeral;

impl Topic for Ephemeral {
    const SPEC: TopicSpec = TopicSpec { name: "Ephemeral", retention: Duration::from_secs(HOUR) };
    type Record = v1::Ephemeral;
    fn key(record: &Self::Record) -> &str {
        &record.room_id
    }
}

/// All topics, as created at start.
pub const ALL_TOPICS: [TopicSpec; 6] = [
    InputRoom::SPEC,
    InputRoomBulk::SPEC,
    OutputRoom::SPEC,
    InputUser::SPEC,
    OutputUser::SPEC,
    Ephemeral::SPEC,
];
