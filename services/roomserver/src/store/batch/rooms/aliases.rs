//! `aliases`: merges and writes local aliases.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
};

use diesel::sql_types::{Array, Int8, Text};
use ruma::OwnedRoomAliasId;

use crate::{
    rooms::AliasRow,
    store::{batch::Pipeline, statement::statement},
};

/// Aliases of a batch.
#[derive(Default)]
pub(super) struct Aliases {
    set: BTreeMap<OwnedRoomAliasId, AliasRow>,
    removed: BTreeSet<OwnedRoomAliasId>,
    moved: BTreeMap<OwnedRoomAliasId, AliasRow>,
}

impl Aliases {
    /// Adds what one input changes, over the inputs before it.
    pub(super) fn merge(&mut self, set: Vec<AliasRow>, removed: Vec<OwnedRoomAliasId>, moved: Vec<AliasRow>) {
        for row in set {
            self.set.insert(row.alias.clone(), row);
        }
        for alias in removed {
            self.set.remove(&alias);
            self.moved.remove(&alias);
            self.removed.insert(alias);
        }
        for row in moved {
            match self.set.get_mut(&row.alias) {
                Some(set) => set.room_id = row.room_id,
                None => drop(self.moved.insert(row.alias.clone(), row)),
            }
        }
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        // The one table here that owners of different partitions share: touched in sorted order, lest they deadlock.
        if !self.removed.is_empty() {
            pipeline.add(
                DeleteAliases::NAME,
                DeleteAliases {
                    alias: self.removed.iter().map(|alias| alias.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.set.is_empty() {
            let rows = || self.set.values();
            pipeline.add(
                InsertAliases::NAME,
                InsertAliases {
                    alias: rows().map(|row| row.alias.as_str()).collect(),
                    room_id: rows().map(|row| row.room_id.as_str()).collect(),
                    creator: rows().map(|row| row.creator.as_str()).collect(),
                    created_ts: rows().map(|row| row.created_ts).collect(),
                    lifetime: PhantomData,
                },
            );
        }
        if !self.moved.is_empty() {
            pipeline.add(
                MoveAliases::NAME,
                MoveAliases {
                    alias: self.moved.keys().map(|alias| alias.as_str()).collect(),
                    room_id: self.moved.values().map(|row| row.room_id.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }
}

statement! {
    /// Removes aliases.
    DeleteAliases {
        alias: Array<Text> => Vec<&'a str>,
    }
    "DELETE FROM aliases WHERE alias = ANY(", ")"
}

statement! {
    /// Points aliases at other rooms.
    MoveAliases {
        alias: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
    }
    "UPDATE aliases AS a SET room_id = v.room_id FROM unnest(", ") AS v(alias, room_id) WHERE a.alias = v.alias"
}

statement! {
    /// Adds aliases. One that has been taken by another partition meanwhile is a conflict, and the input is applied again.
    InsertAliases {
        alias: Array<Text> => Vec<&'a str>,
        room_id: Array<Text> => Vec<&'a str>,
        creator: Array<Text> => Vec<&'a str>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO aliases (alias, room_id, creator, created_ts) SELECT * FROM unnest(", ")"
}
