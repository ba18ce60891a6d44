//! `output_log` and `user_output_log`: committed records in order, for republishing and for readers that lag.
//!
//! What was published goes after a while: see [`super::output_retention`].

use bytes::Bytes;
use diesel::{ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use plexus_log::{OutputRoom, OutputUser, Topic as _};
use plexus_proto::log::v1::{OutputRoomEvent, OutputUserEvent, Purged, output_room_event::Body};
use prost::Message as _;

use super::{
    StoreError,
    schema::{event_json, output_log, user_output_log},
};

/// An output log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OutputLog {
    /// `OutputRoomEvent`.
    Rooms,
    /// `OutputUserEvent`.
    Users,
}

impl OutputLog {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Rooms, Self::Users];

    /// Its topic, by which tables name it.
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Rooms => OutputRoom::SPEC.name,
            Self::Users => OutputUser::SPEC.name,
        }
    }

    /// The table of its records.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Rooms => "output_log",
            Self::Users => "user_output_log",
        }
    }
}

/// Encodes a record without the JSON of its event, which is kept in `event_json`.
pub(crate) fn encode_without_json(record: &mut OutputRoomEvent) -> Bytes {
    let json = json_of(record).map(std::mem::take);
    let body = Bytes::from(record.encode_to_vec());
    if let (Some(slot), Some(json)) = (json_of(record), json) {
        *slot = json;
    }
    body
}

fn json_of(record: &mut OutputRoomEvent) -> Option<&mut Bytes> {
    match record.body.as_mut()? {
        Body::NewEvent(event) => Some(&mut event.json),
        Body::Redacted(redacted) => Some(&mut redacted.json),
        Body::OldEvent(event) => Some(&mut event.json),
        Body::Directory(_)
        | Body::Forgotten(_)
        | Body::Receipt(_)
        | Body::StateRewritten(_)
        | Body::Fetch(_)
        | Body::Purged(_) => None,
    }
}

/// Lists records of rooms with `after < seq <= to`, at most `limit`, in order.
/// An event that was redacted since comes with the JSON it has now; of one that was deleted with its room, only that is
/// told.
pub(crate) async fn list_rooms(
    conn: &mut AsyncPgConnection,
    partition: i16,
    after: i64,
    to: i64,
    limit: i64,
) -> Result<Vec<OutputRoomEvent>, StoreError> {
    type Row = (Vec<u8>, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> = output_log::table
        .left_join(event_json::table.on(output_log::event_nid.eq(event_json::event_nid.nullable())))
        .filter(output_log::partition.eq(partition))
        .filter(output_log::seq.gt(after))
        .filter(output_log::seq.le(to))
        .order(output_log::seq)
        .limit(limit)
        .select((output_log::body, output_log::event_nid, event_json::json.nullable()))
        .load(conn)
        .await
        .map_err(StoreError::query("output.list_rooms"))?;
    rows.into_iter()
        .map(|(body, event_nid, json)| {
            let mut record = OutputRoomEvent::decode(body.as_slice())
                .map_err(|error| StoreError::Corrupt { what: format!("output_log ({error})") })?;
            match (json_of(&mut record), json) {
                (Some(slot), Some(json)) => *slot = Bytes::from(json),
                (Some(_), None) if event_nid.is_some() => record.body = Some(Body::Purged(Purged {})),
                _ => {}
            }
            Ok(record)
        })
        .collect()
}

/// Lists records of users with `after < seq <= to`, at most `limit`, in order.
pub(crate) async fn list_users(
    conn: &mut AsyncPgConnection,
    partition: i16,
    after: i64,
    to: i64,
    limit: i64,
) -> Result<Vec<OutputUserEvent>, StoreError> {
    let rows: Vec<Vec<u8>> = user_output_log::table
        .filter(user_output_log::partition.eq(partition))
        .filter(user_output_log::seq.gt(after))
        .filter(user_output_log::seq.le(to))
        .order(user_output_log::seq)
        .limit(limit)
        .select(user_output_log::body)
        .load(conn)
        .await
        .map_err(StoreError::query("output.list_users"))?;
    rows.into_iter()
        .map(|body| {
            OutputUserEvent::decode(body.as_slice())
                .map_err(|error| StoreError::Corrupt { what: format!("user_output_log ({error})") })
        })
        .collect()
}
