//! Applies inputs of users.

use bytes::Bytes;
use plexus_proto::{
    input::v1::{InputLog, Verdict},
    log::v1::{InputUserEvent, output_user_event},
};
use prost::Message as _;

use super::{InputBatch, guard, partition_column, repeated, set_body};
use crate::{
    store::batch::OutputRow,
    users,
    worker::{intake::Input, publisher::Record},
};

impl InputBatch<'_> {
    /// Has a record of this batch tell other account data.
    fn amend_account_data(&mut self, partition: u32, seq: u64, content: Bytes) {
        let queue = self.outputs.get_mut(&(InputLog::User, partition)).into_iter().flatten();
        let record = queue.rev().find_map(|record| match record {
            Record::User(record) if record.seq == seq => Some(record),
            Record::Room(_) | Record::User(_) => None,
        });
        let Some(record) = record else { return };
        if let Some(output_user_event::Fact::AccountDataChanged(changed)) = &mut record.fact {
            changed.content = content;
        }
        let body = Bytes::from(record.encode_to_vec());
        set_body(&mut self.batch.user_output, partition, i64::try_from(seq).unwrap_or(i64::MAX), body);
    }

    pub(super) fn apply_user(&mut self, input: &Input, record: &InputUserEvent) -> Verdict {
        if let Some(known) = self.verdicts.get(&input.input_id) {
            return repeated(known);
        }
        let user = self.users.get(&record.user_id).cloned().unwrap_or_default();
        let (next_seq, epoch) = match self.touched.get(&input.partition) {
            Some(partition) => (partition.next_user_seq, partition.epoch_number()),
            None => return self.dead_letter(input, "its partition is not owned"),
        };
        let at = users::At { partition: input.partition, next_seq, epoch };
        let verdict = match guard(|| users::apply(user, record, at, &self.env.server_name)) {
            Ok(users::Outcome::Applied(applied)) => {
                let users::Applied { user, changes, outputs, amended, verdict, next_seq } = *applied;
                self.users.insert(record.user_id.clone(), user);
                if changes.iter().any(users::Change::ends_session) {
                    self.signed_out.insert(record.user_id.clone());
                }
                if let Some(partition) = self.touched.get_mut(&input.partition) {
                    partition.next_user_seq = next_seq;
                }
                self.batch.users.merge(&record.user_id, changes);
                for (seq, content) in amended {
                    self.amend_account_data(input.partition, seq, content);
                }
                let queue = self.outputs.entry((InputLog::User, input.partition)).or_default();
                for output in outputs {
                    self.batch.user_output.push(OutputRow {
                        partition: partition_column(input.partition),
                        seq: i64::try_from(output.seq).unwrap_or(i64::MAX),
                        event_nid: None,
                        body: Bytes::from(output.encode_to_vec()),
                    });
                    queue.push(Record::User(Box::new(output)));
                }
                verdict
            }
            Ok(users::Outcome::Refused(verdict)) => verdict,
            Ok(users::Outcome::Poison(error)) => return self.dead_letter(input, &error),
            Err(panicked) => return self.dead_letter(input, &panicked),
        };
        self.keep_verdict(input, input.input_id, &verdict);
        verdict
    }
}
