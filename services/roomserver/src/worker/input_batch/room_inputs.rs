//! Applies inputs of rooms.

use std::collections::BTreeSet;

use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, InputLog, PduResult, Rejected, Verdict, verdict::Outcome as Decision},
    log::v1::{InputRoomEvent, Receipt, input_room_event, output_room_event},
};
use prost::Message as _;
use ruma::{OwnedRoomId, RoomId};

use super::{BatchMode, Failure, InputBatch, guard, partition_column, repeated, set_body};
use crate::{
    rooms::{self, Applied, Outcome, ParkedNid, Room, RoomInput},
    store::{
        StoreError,
        batch::OutputRow,
        loads::{self, Key},
        output::encode_without_json,
    },
    worker::{intake::Input, publisher::Record},
};

/// What became of an input of a room.
enum Settled {
    Applied(Box<Applied>),
    Refused(Verdict),
}

impl InputBatch<'_> {
    pub(super) async fn apply_room(
        &mut self,
        input: &Input,
        room_input: &RoomInput,
    ) -> Result<Verdict, Failure> {
        if let Some(known) = self.verdicts.get(&input.input_id) {
            return Ok(repeated(known));
        }
        let txn = txn_key(room_input);
        if let Some(known) = txn.and_then(|key| self.verdicts.get(&key)) {
            let verdict = repeated(known);
            self.keep_verdict(input, input.input_id, &verdict);
            return Ok(verdict);
        }
        let verdict = match rooms::parts(room_input) {
            Err(error) => return Ok(self.dead_letter(input, &error)),
            Ok(None) => match self.apply_one(input.partition, room_input).await? {
                Ok(verdict) => verdict,
                Err(error) => return Ok(self.dead_letter(input, &error)),
            },
            Ok(Some(parts)) => self.apply_parts(input, &parts).await?,
        };
        self.keep_verdict(input, input.input_id, &verdict);
        if let (Some(key), Some(Decision::Accepted(_))) = (txn, &verdict.outcome) {
            self.keep_verdict(input, key, &verdict);
        }
        Ok(verdict)
    }

    /// Applies one event of another server after the other. One that can never be processed has no part in the rest.
    async fn apply_parts(&mut self, input: &Input, parts: &[RoomInput]) -> Result<Verdict, Failure> {
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let verdict = match self.apply_one(input.partition, part).await? {
                Ok(verdict) => verdict,
                Err(message) => {
                    let rejected = Rejected { reason: ErrorReason::InvalidParam.into(), message };
                    Verdict { outcome: Some(Decision::Rejected(rejected)) }
                }
            };
            let event_id = match &verdict.outcome {
                Some(Decision::Accepted(accepted)) => accepted.event_id.clone(),
                _ => String::new(),
            };
            results.push(PduResult { event_id, verdict: Some(verdict) });
        }
        let accepted = Accepted { results, ..Accepted::default() };
        Ok(Verdict { outcome: Some(Decision::Accepted(accepted)) })
    }

    /// Applies an input and the parked events that it sets free, which were parked before it and now lack nothing.
    async fn apply_one(
        &mut self,
        partition: u32,
        room_input: &RoomInput,
    ) -> Result<Result<Verdict, String>, Failure> {
        let mut free: BTreeSet<ParkedNid> = BTreeSet::new();
        let verdict = match self.decide(partition, room_input).await? {
            Ok(Settled::Applied(applied)) => {
                free.extend(&applied.unparked);
                self.take(partition, room_input, *applied)
            }
            Ok(Settled::Refused(verdict)) => verdict,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(nid) = free.pop_first() {
            self.unparked += 1;
            let Some(parked) = self.parked_input(partition, nid).await? else { continue };
            match self.decide(partition, &parked).await? {
                Ok(Settled::Applied(applied)) => {
                    free.extend(&applied.unparked);
                    self.take(partition, &parked, *applied);
                }
                // It stays parked, and is given up when its time has come.
                Ok(Settled::Refused(verdict)) => {
                    tracing::warn!(parked = nid.0, ?verdict, "a parked event was refused");
                }
                Err(error) => {
                    tracing::warn!(parked = nid.0, error, "a parked event cannot be applied");
                }
            }
        }
        Ok(Ok(verdict))
    }

    /// The input of a parked event.
    async fn parked_input(
        &mut self,
        partition: u32,
        nid: ParkedNid,
    ) -> Result<Option<RoomInput>, StoreError> {
        if !self.loaded.parked_records.contains_key(&nid) {
            let found = loads::find_parked_records(self.conn, &[nid]).await?;
            self.loaded.parked_records.extend(found);
        }
        let Some(record) = self.loaded.parked_records.get(&nid) else { return Ok(None) };
        let record = InputRoomEvent::decode(record.clone())
            .map_err(|error| StoreError::Corrupt { what: format!("parked input {nid} ({error})") })?;
        Ok(Some(RoomInput { parked: Some(nid), ..RoomInput::new(partition, record) }))
    }

    /// Calls the pure half until it has what it asks for.
    async fn decide(
        &mut self,
        partition: u32,
        input: &RoomInput,
    ) -> Result<Result<Settled, String>, Failure> {
        let Some(counters) = self.touched.get(&partition).map(|partition| partition.counters) else {
            return Ok(Err("its partition is not owned".to_owned()));
        };
        let room = <&RoomId>::try_from(input.record.room_id.as_str()).ok().and_then(|id| self.room(id));
        if room.is_none() && self.purging.contains(&input.record.room_id) {
            let reason = if begins(input) { ErrorReason::BadState } else { ErrorReason::RoomUnknown };
            let message = "the room was deleted, and is not all gone yet".to_owned();
            let rejected = Rejected { reason: reason.into(), message };
            return Ok(Ok(Settled::Refused(Verdict { outcome: Some(Decision::Rejected(rejected)) })));
        }
        self.loaded.effort.begin_decision();
        loop {
            match guard(|| rooms::apply(room.as_ref(), input, &self.loaded, counters, self.env)) {
                Ok(Outcome::Load(request)) => {
                    if !self.loaded.effort.charge_load(request.len()) {
                        return Err(Failure::Overrun);
                    }
                    self.load(*request).await?;
                }
                Ok(Outcome::Overrun) => return Err(Failure::Overrun),
                Ok(Outcome::Applied(applied)) => return Ok(Ok(Settled::Applied(applied))),
                Ok(Outcome::Refused(verdict)) => return Ok(Ok(Settled::Refused(verdict))),
                Ok(Outcome::Poison(error)) | Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Returns a room as the inputs before have left it.
    pub(super) fn room(&self, id: &RoomId) -> Option<Room> {
        match self.rooms.get(id) {
            Some(room) => room.clone(),
            None => self.known.rooms.find(id),
        }
    }

    /// Takes over what an input has changed.
    fn take(&mut self, partition: u32, input: &RoomInput, applied: Applied) -> Verdict {
        if self.mode == BatchMode::LowPriority && self.pristine.is_none() {
            self.pristine = Some(self.loaded.clone());
        }
        self.loaded.absorb(&applied);
        let Applied { room, mut rows, outputs, amended, verdict, counters, unparked: _ } = applied;
        for output in &outputs {
            self.batch.facts.note(room.nid(), output);
        }
        self.batch.facts.take(std::mem::take(&mut rows.facts));
        let purged = rows.purged.is_some();
        if purged {
            self.purging.insert(input.record.room_id.clone());
        }
        if let Ok(id) = OwnedRoomId::try_from(input.record.room_id.as_str()) {
            self.rooms.insert(id, (!purged).then_some(room));
        }
        let mut epoch = 0;
        if let Some(touched) = self.touched.get_mut(&partition) {
            touched.counters = counters;
            epoch = touched.epoch_number();
        }
        self.batch.rooms.merge(rows);
        for (seq, receipt) in amended {
            self.amend_receipt(partition, seq, receipt);
        }
        if !outputs.is_empty() {
            let queue = self.outputs.entry((InputLog::Room, partition)).or_default();
            for output in outputs {
                let mut record = output.record;
                record.epoch = epoch;
                self.batch.room_output.push(OutputRow {
                    partition: partition_column(partition),
                    seq: output.seq,
                    event_nid: output.event_nid.map(|nid| nid.0),
                    body: encode_without_json(&mut record),
                });
                queue.push(Record::Room(Box::new(record)));
            }
        }
        verdict
    }

    /// Has a record of this batch tell another receipt.
    fn amend_receipt(&mut self, partition: u32, seq: i64, receipt: Receipt) {
        let queue = self.outputs.get_mut(&(InputLog::Room, partition)).into_iter().flatten();
        let record = queue.rev().find_map(|record| match record {
            Record::Room(record) if i64::try_from(record.seq) == Ok(seq) => Some(record),
            Record::Room(_) | Record::User(_) => None,
        });
        let Some(record) = record else { return };
        record.body = Some(output_room_event::Body::Receipt(receipt));
        let body = encode_without_json(record);
        set_body(&mut self.batch.room_output, partition, seq, body);
    }
}

/// The key of the client's transaction that an input names, if it does.
pub(super) fn txn_key(input: &RoomInput) -> Option<Key> {
    match &input.record.body {
        Some(input_room_event::Body::Intent(intent)) => rooms::txn_key(intent),
        Some(
            input_room_event::Body::Batch(_)
            | input_room_event::Body::Pdu(_)
            | input_room_event::Body::Pdus(_)
            | input_room_event::Body::Snapshot(_)
            | input_room_event::Body::FetchDone(_)
            | input_room_event::Body::Control(_),
        )
        | None => None,
    }
}

/// Whether an input would make a room that is not known.
fn begins(input: &RoomInput) -> bool {
    use input_room_event::Body;
    matches!(input.record.body, Some(Body::Batch(_) | Body::Snapshot(_)))
}
