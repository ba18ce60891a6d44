//! Prefetches what the inputs of a batch will need, in a few rounds for all of them.

use ruma::RoomId;

use super::{InputBatch, guard};
use crate::{
    rooms::{self, LoadRequest},
    store::StoreError,
    worker::intake::{Body, Input},
};

/// Rounds of loading: one for each level of the state tries.
const MAX_ROUNDS: usize = 8;

impl InputBatch<'_> {
    /// Loads what the inputs will need.
    pub(in crate::worker) async fn prefetch(&mut self, inputs: &[Input]) -> Result<(), StoreError> {
        let mut prefetched = Vec::with_capacity(inputs.len());
        for input in inputs {
            let Body::Room(room_input) = &input.body else { continue };
            let id = <&RoomId>::try_from(room_input.record.room_id.as_str());
            let Some(room) = id.ok().and_then(|id| self.room(id)) else { continue };
            if self.verdicts.contains_key(&input.input_id) {
                continue;
            }
            // What panics here does so again when it is applied, and is set aside there.
            if let Ok(prefetch) = guard(|| rooms::prefetch(&room, &room_input.record)) {
                prefetched.push((room, prefetch));
            }
        }
        for _ in 0..MAX_ROUNDS {
            let mut request = LoadRequest::default();
            for (room, prefetch) in &prefetched {
                prefetch.note_lacking(room, &self.loaded, &mut request);
            }
            if request.is_empty() {
                break;
            }
            self.load(request).await?;
        }
        Ok(())
    }
}
