//! Memberships out of band.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::{store::statement::statement, users::OutOfBandRow};

/// Memberships by user and room, merged over the commands of a batch. `None`: the row is to go.
#[derive(Default)]
pub(super) struct OutOfBandRows(IndexMap<(String, String), Option<Box<OutOfBandRow>>>);

impl OutOfBandRows {
    /// Adds one, over those of the commands before it.
    pub(super) fn merge(&mut self, user_id: &str, room_id: String, row: Option<Box<OutOfBandRow>>) {
        self.0.insert((user_id.to_owned(), room_id), row);
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<_> = self.0.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| key).collect();
        if !gone.is_empty() {
            pipeline.add(
                DeleteOutOfBand::NAME,
                DeleteOutOfBand {
                    user_id: gone.iter().map(|(user_id, _)| user_id.as_str()).collect(),
                    room_id: gone.iter().map(|(_, room_id)| room_id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        let kept: Vec<_> = self.0.iter().filter_map(|(key, row)| Some((key, row.as_deref()?))).collect();
        if kept.is_empty() {
            return;
        }
        let rows = || kept.iter().map(|(_, row)| *row);
        pipeline.add(
            UpsertOutOfBand::NAME,
            UpsertOutOfBand {
                user_id: kept.iter().map(|(key, _)| key.0.as_str()).collect(),
                room_id: kept.iter().map(|(key, _)| key.1.as_str()).collect(),
                membership: rows().map(|row| row.state.membership.as_str()).collect(),
                event: rows().map(|row| row.event.as_ref()).collect(),
                event_id: rows().map(|row| row.state.event_id.as_str()).collect(),
                sender: rows().map(|row| row.sender.as_str()).collect(),
                origin: rows().map(|row| row.origin.as_str()).collect(),
                room_version: rows().map(|row| row.room_version.as_str()).collect(),
                stripped_state: rows().map(|row| row.stripped_state.as_ref()).collect(),
                seq: rows().map(|row| row.state.seq).collect(),
                lifetime: PhantomData,
            },
        );
    }
}

statement! {
    /// Forgets memberships.
    DeleteOutOfBand {
        user_id: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM out_of_band_memberships AS m USING unnest(",
    ") AS v(user_id, room_id) WHERE m.user_id = v.user_id AND m.room_id = v.room_id"
}

statement! {
    /// Sets memberships.
    UpsertOutOfBand {
        user_id: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        membership: Array<Text> => Vec<&'a str>,
        event: Array<Binary> => Vec<&'a [u8]>,
        event_id: Array<Text> => Vec<&'a str>,
        sender: Array<Text> => Vec<&'a str>,
        origin: Array<Text> => Vec<&'a str>,
        room_version: Array<Text> => Vec<&'a str>,
        stripped_state: Array<Binary> => Vec<&'a [u8]>,
        seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO out_of_band_memberships (user_id, room_id, membership, event, event_id, sender, origin, \
     room_version, stripped_state, seq) SELECT * FROM unnest(",
    ") ON CONFLICT (user_id, room_id) DO UPDATE SET membership = excluded.membership, event = excluded.event, \
     event_id = excluded.event_id, sender = excluded.sender, origin = excluded.origin, \
     room_version = excluded.room_version, stripped_state = excluded.stripped_state, seq = excluded.seq"
}
