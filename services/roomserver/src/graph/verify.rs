//! Computes the state after every event of a room anew, and compares it with the stored one.
//!
//! Each event is looked at by itself: the states after its previous events, as they are stored, are resolved, the event
//! is applied, and the result is compared with the stored state after it. Where all events agree, all states follow from
//! the create event on. So events are read page by page in the order in which they came, and no state is carried along.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, de::IgnoredAny};

use super::{Attempt, Lacking, Reader, State};
use crate::{
    rooms::{EventNid, flags},
    store::{
        StoreError,
        reads::vertices::{self, VertexRow},
    },
};

/// Events read at once: what these need is loaded together.
const PAGE: i64 = 512;
/// Events whose JSON is read at once.
const JSON_PAGE: usize = 64;
/// Most differences that are listed.
const MAX_LISTED: usize = 20;
/// Bits of a numeric ID below the partition.
const COUNTER_BITS: u32 = 51;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) events: u64,
    pub(crate) resolutions: u64,
    pub(crate) taken_as_stored: u64,
    pub(crate) outliers: u64,
    pub(crate) differing: u64,
    /// The first events that differ.
    pub(crate) differences: Vec<Difference>,
    pub(crate) current_state_agrees: bool,
}

/// An event whose state differs from what is stored.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) event_id: String,
    pub(crate) members: bool,
    pub(crate) other: bool,
    /// Why its state cannot be computed; empty if it can.
    pub(crate) damage: String,
}

/// What is known of one event.
enum Found {
    /// It was computed: whether states were resolved, and in which part it differs.
    Computed { resolved: bool, members: bool, other: bool },
    /// The state before it cannot be computed, for it came from elsewhere.
    AsStored,
}

impl Reader<'_> {
    /// Verifies the room.
    pub(crate) async fn verify(&mut self) -> Result<Report, StoreError> {
        let mut report = Report::default();
        // The room got its number before any of its events did; all numbers of its partition lie together.
        let mut after = self.room.room_nid;
        let end = ((after >> COUNTER_BITS) + 1) << COUNTER_BITS;
        loop {
            let page = vertices::list_room(self.conn, &after, &end, &self.room.room_nid, &PAGE).await?;
            let Some(last) = page.last().map(|row| row.event_nid) else { break };
            after = last;
            self.verify_page(&page, &mut report).await?;
            self.shrink();
            tokio::task::yield_now().await;
        }
        report.current_state_agrees = self.verify_current().await?;
        Ok(report)
    }

    async fn verify_page(&mut self, page: &[VertexRow], report: &mut Report) -> Result<(), StoreError> {
        let placed = |row: &&VertexRow| row.flags & flags::OUTLIER == 0;
        report.outliers += u64::try_from(page.iter().filter(|row| !placed(row)).count()).unwrap_or(0);
        let mut open: Vec<&VertexRow> = page.iter().filter(placed).collect();
        let incomplete = self.find_incomplete(&open).await?;
        let prevs = self.states_after(page).await?;
        let mut found: BTreeMap<i64, (&VertexRow, Result<Found, String>)> = BTreeMap::new();
        while !open.is_empty() {
            let mut lacking = Lacking::default();
            let mut later = Vec::new();
            for row in open {
                let checked = match self.check(row, &prevs, incomplete.contains(&row.event_nid)) {
                    Ok(checked) => Ok(checked),
                    Err(Attempt::Damaged(what)) => Err(what),
                    Err(Attempt::Lacking(more)) => match self.lost(&more) {
                        Some(what) => Err(what),
                        None => {
                            lacking.extend(more);
                            later.push(row);
                            continue;
                        }
                    },
                };
                found.insert(row.event_nid, (row, checked));
            }
            open = later;
            self.load(lacking).await?;
        }
        // They were decided in rounds, and are told in the order in which they came.
        for (row, checked) in found.into_values() {
            report.note(row, checked);
        }
        Ok(())
    }

    /// Those of the events that cite more previous events than are stored as theirs. Only their JSON tells.
    async fn find_incomplete(&self, rows: &[&VertexRow]) -> Result<BTreeSet<i64>, StoreError> {
        #[derive(Deserialize)]
        struct Citing {
            prev_events: Vec<IgnoredAny>,
        }
        let mut incomplete = BTreeSet::new();
        for rows in rows.chunks(JSON_PAGE) {
            let stored: HashMap<i64, usize> =
                rows.iter().map(|row| (row.event_nid, row.prev_nids.len())).collect();
            let nids: Vec<i64> = stored.keys().copied().collect();
            for row in vertices::list_json(self.conn, &nids).await? {
                let cited =
                    serde_json::from_slice::<Citing>(&row.json).map_or(0, |event| event.prev_events.len());
                if stored.get(&row.event_nid).is_some_and(|stored| cited > *stored) {
                    incomplete.insert(row.event_nid);
                }
            }
        }
        Ok(incomplete)
    }

    /// The stored states after the previous events of a page.
    async fn states_after(&mut self, page: &[VertexRow]) -> Result<HashMap<i64, State>, StoreError> {
        let mut states = HashMap::new();
        let mut note = |reader: &mut Self, row: &VertexRow| {
            reader.note(row);
            if row.flags & flags::OUTLIER == 0 {
                states.insert(row.event_nid, State::stored(row.members_root, row.other_root));
            }
        };
        for row in page {
            note(self, row);
        }
        let here: BTreeSet<i64> = page.iter().map(|row| row.event_nid).collect();
        let before: BTreeSet<i64> = page.iter().flat_map(|row| row.prev_nids.iter().copied()).collect();
        let before: Vec<i64> = before.difference(&here).copied().collect();
        for nids in before.chunks(super::MAX_ASKED) {
            for row in vertices::list_vertices(self.conn, nids).await? {
                note(self, &row);
            }
        }
        Ok(states)
    }

    /// Computes the state after an event and compares it.
    fn check(
        &mut self,
        row: &VertexRow,
        states: &HashMap<i64, State>,
        incomplete: bool,
    ) -> Result<Found, Attempt> {
        let stored = State::stored(row.members_root, row.other_root);
        // What is not there at all is damage, also where the state is taken as it is.
        let stored = self.hashes(&stored)?;
        if incomplete || (row.prev_nids.is_empty() && row.event_nid != self.room.create_nid) {
            return Ok(Found::AsStored);
        }
        let mut before = Vec::with_capacity(row.prev_nids.len());
        for prev in &row.prev_nids {
            let state = states.get(prev);
            before.push(
                state.cloned().ok_or_else(|| {
                    Attempt::Damaged(format!("previous event {prev} has no state after it"))
                })?,
            );
        }
        let before = self.resolve(&before, false)?;
        let after = match &row.state_key {
            Some(state_key) if row.flags & flags::REJECTED == 0 => {
                self.with_event(&before.state, &row.event_type, state_key, EventNid(row.event_nid))?
            }
            Some(_) | None => before.state,
        };
        let (members, other) = self.hashes(&after)?;
        Ok(Found::Computed {
            resolved: before.distinct > 1,
            members: members != stored.0,
            other: other != stored.1,
        })
    }

    /// Whether the current state of the room is the resolution of its forward extremities. They are read anew: the room
    /// may have gone on.
    async fn verify_current(&mut self) -> Result<bool, StoreError> {
        let room_id = self.room.room_id.clone();
        let Some(room) = vertices::find_room(self.conn, &room_id).await?.into_iter().next() else {
            return Ok(false);
        };
        let latest = vertices::list_vertices(self.conn, &room.latest_nids).await?;
        if latest.is_empty() || latest.len() != room.latest_nids.len() {
            return Ok(false);
        }
        let states: Vec<State> =
            latest.iter().map(|row| State::stored(row.members_root, row.other_root)).collect();
        let stored = State::stored(room.members_root, room.other_root);
        let agrees = self.decide(|reader| {
            let current = reader.resolve(&states, false)?.state;
            Ok(reader.hashes(&current)? == reader.hashes(&stored)?)
        });
        match agrees.await {
            Err(StoreError::Corrupt { what }) => {
                tracing::warn!(what, "the current state of a room cannot be computed");
                Ok(false)
            }
            agrees => agrees,
        }
    }
}

impl Report {
    fn note(&mut self, row: &VertexRow, checked: Result<Found, String>) {
        self.events += 1;
        match checked {
            Ok(Found::AsStored) => self.taken_as_stored += 1,
            Ok(Found::Computed { resolved, members, other }) => {
                self.resolutions += u64::from(resolved);
                if members || other {
                    self.differ(row, members, other, String::new());
                }
            }
            Err(damage) => self.differ(row, false, false, damage),
        }
    }

    fn differ(&mut self, row: &VertexRow, members: bool, other: bool, damage: String) {
        self.differing += 1;
        if self.differences.len() < MAX_LISTED {
            self.differences.push(Difference { event_id: row.event_id.clone(), members, other, damage });
        }
    }
}
