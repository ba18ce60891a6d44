//! Dispatches a command to the function that decides on it, and tells its outcome.

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::{Accepted, Rejected, Verdict, verdict},
    log::v1::{
        InputUserEvent, OutputUserEvent, PurgeUserMedia, input_user_event::Command, output_user_event::Fact,
    },
};
use ruma::{ServerName, UserId};

use super::{
    account, backup, data, devices, keys,
    media::{self, Target},
    out_of_band, profile, push_rules, reports, session,
    state::{Account, Change, MemberJob, User},
    tags, to_device,
};

/// Most bytes of an ID, a name of a device, or a type.
pub(super) const MAX_NAME_BYTES: usize = 255;
/// Most bytes of what a command answers.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Where the command stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// Partition.
    pub(crate) partition: u32,
    /// Next `seq` of `OutputUserEvent`.
    pub(crate) next_seq: i64,
    /// Ownership epoch.
    pub(crate) epoch: u64,
}

/// What comes of a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was carried out, perhaps without a change.
    Applied(Box<Applied>),
    /// It is refused; nothing changes.
    Refused(Verdict),
    /// It can never be processed: it belongs into `dead_letters`.
    Poison(String),
}

/// The effects of a command.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The user after it.
    pub(crate) user: User,
    /// Rows to write, in order: a later one of the same key replaces an earlier one.
    pub(crate) changes: Vec<Change>,
    /// Records to put out, with contiguous `seq`.
    pub(crate) outputs: Vec<OutputUserEvent>,
    /// Contents that take the place of those that records of the same batch tell, by the `seq` of the record.
    pub(crate) amended: Vec<(u64, Bytes)>,
    /// The answer to the writer.
    pub(crate) verdict: Verdict,
    /// Next `seq` after it.
    pub(crate) next_seq: i64,
}

/// Why a command goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is refused.
    Refuse(ErrorReason, String),
    /// It can never be processed.
    Poison(String),
}

/// Refuses a command.
pub(super) fn refuse<T>(reason: ErrorReason, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(reason, message.into()))
}

/// A command at work.
pub(super) struct Work<'a> {
    pub(super) user: User,
    pub(super) record: &'a InputUserEvent,
    at: At,
    pub(super) changes: Vec<Change>,
    outputs: Vec<OutputUserEvent>,
    amended: Vec<(u64, Bytes)>,
    payload: Bytes,
}

/// Decides what becomes of a command. Repeats of an input are not recognized here: the caller knows the verdicts.
pub(crate) fn apply(user: User, record: &InputUserEvent, at: At, server_name: &ServerName) -> Outcome {
    let mut work = Work {
        user,
        record,
        at,
        changes: Vec::new(),
        outputs: Vec::new(),
        amended: Vec::new(),
        payload: Bytes::new(),
    };
    match work.run(server_name) {
        Ok(()) if work.payload.len() > MAX_PAYLOAD_BYTES => {
            Outcome::Poison(format!("its answer exceeds {MAX_PAYLOAD_BYTES} bytes"))
        }
        Ok(()) => work.finish(),
        Err(Stop::Refuse(reason, message)) => {
            let rejected = Rejected { reason: reason.into(), message };
            Outcome::Refused(Verdict { outcome: Some(verdict::Outcome::Rejected(rejected)) })
        }
        Err(Stop::Poison(error)) => Outcome::Poison(error),
    }
}

impl Work<'_> {
    fn run(&mut self, server_name: &ServerName) -> Result<(), Stop> {
        let record = self.record;
        let Some(command) = &record.command else {
            return Err(Stop::Poison("the record has no command that this version knows".to_owned()));
        };
        if media::is_uri(&record.user_id) {
            return media::run(self, server_name, command);
        }
        let user_id = UserId::parse(record.user_id.as_str())
            .map_err(|error| Stop::Poison(format!("user_id is not a user ID: {error}")))?;
        let is_ours = user_id.server_name() == server_name;
        if !is_ours && !matches!(command, Command::NoteRemoteKeys(_)) {
            return Err(Stop::Poison(format!("{user_id} is not a user of this server")));
        }
        match command {
            Command::Register(command) => account::register(self, command),
            Command::Login(command) => session::log_in(self, command),
            Command::RefreshTokens(command) => session::refresh(self, command),
            Command::ConfirmTokens(command) => session::confirm(self, command),
            Command::NoteSeen(command) => devices::note_seen(self, command),
            Command::UpdateDevice(command) => devices::update(self, command),
            Command::DeleteDevices(command) => devices::delete(self, command),
            Command::SetPassword(command) => account::set_password(self, command),
            Command::Deactivate(command) => account::deactivate(self, command),
            Command::SetProfileField(command) => profile::set_field(self, command),
            Command::SetAccountData(command) => data::set_account_data(self, command),
            Command::SetFilter(command) => data::set_filter(self, command),
            Command::PutPushRule(command) => push_rules::put(self, command),
            Command::DeletePushRule(command) => push_rules::delete(self, command),
            Command::EnablePushRule(command) => push_rules::enable(self, command),
            Command::SetPushRuleActions(command) => push_rules::set_actions(self, command),
            Command::SetTag(command) => tags::set(self, command),
            Command::Report(command) => reports::report(self, command),
            Command::SendToDevice(command) => to_device::send(self, command),
            Command::AckToDevice(command) => to_device::acknowledge(self, command),
            Command::CreateBackup(command) => backup::create(self, command),
            Command::UpdateBackup(command) => backup::update(self, command),
            Command::DeleteBackup(command) => backup::delete(self, command),
            Command::PutBackupKeys(command) => backup::put_keys(self, command),
            Command::DeleteBackupKeys(command) => backup::delete_keys(self, command),
            Command::UploadKeys(command) => keys::upload(self, command),
            Command::ClaimKeys(command) => keys::claim(self, command),
            Command::UploadCrossSigningKeys(command) => keys::upload_cross_signing(self, command),
            Command::NoteRemoteKeys(_) if is_ours => {
                Err(Stop::Poison(format!("{user_id} is no user of another server")))
            }
            Command::NoteRemoteKeys(_) => {
                keys::note_remote(self);
                Ok(())
            }
            Command::QueueToDevice(command) => to_device::queue(self, command, server_name),
            Command::UploadSignatures(command) => keys::upload_signatures(self, command),
            Command::SetOutOfBandMembership(command) => out_of_band::set(self, command),
            Command::ReserveMedia(command) => {
                media::reserve(self, Target::of_user(server_name, &command.media_id)?, command)
            }
            Command::CommitMedia(command) => {
                media::commit(self, Target::of_user(server_name, &command.media_id)?, command)
            }
            Command::AddThumbnail(command) => {
                media::add_thumbnail(self, Target::of_user(server_name, &command.media_id)?, command)
            }
            Command::TouchMedia(command) => media::touch(self, server_name, &command.media_id),
            Command::SetMediaQuarantine(command) => {
                media::quarantine(self, Target::of_user(server_name, &command.media_id)?, command)
            }
            Command::DeleteMedia(command) => {
                media::remove(self, Target::of_user(server_name, &command.media_id)?, command)
            }
            Command::PurgeUserMedia(PurgeUserMedia {}) => {
                media::purge(self);
                Ok(())
            }
            Command::CommitRemoteMedia(_) | Command::EvictMedia(_) => {
                Err(Stop::Poison("media of other servers is not a user's".to_owned()))
            }
        }
    }

    fn finish(self) -> Outcome {
        let amended = self.amended.iter().map(|(seq, _)| *seq);
        let last = self.outputs.iter().map(|output| output.seq).chain(amended).max().unwrap_or(0);
        let accepted = Accepted { seq: last, payload: self.payload, ..Accepted::default() };
        Outcome::Applied(Box::new(Applied {
            user: self.user,
            changes: self.changes,
            outputs: self.outputs,
            amended: self.amended,
            verdict: Verdict { outcome: Some(verdict::Outcome::Accepted(accepted)) },
            next_seq: self.at.next_seq,
        }))
    }

    /// The account, which has to exist and to be active.
    pub(super) fn active_account(&self) -> Result<&Account, Stop> {
        match &self.user.account {
            None => refuse(ErrorReason::NotFound, "there is no such account"),
            Some(account) if account.deactivated => {
                refuse(ErrorReason::UserDeactivated, "the account has been deactivated")
            }
            Some(account) => Ok(account),
        }
    }

    /// Sets the account.
    pub(super) fn put_account(&mut self, account: Account) {
        self.changes.push(Change::Account(account.clone()));
        self.user.account = Some(account);
    }

    /// Has a record that an earlier command of the batch has put out tell other account data.
    pub(super) fn amend(&mut self, seq: i64, content: Bytes) {
        self.amended.push((u64::try_from(seq).unwrap_or(0), content));
    }

    /// Has something done in all rooms of the user.
    pub(super) fn begin_job(&mut self, job: MemberJob) {
        self.changes.push(Change::MemberJob(job, self.at.next_seq, self.record.produced_ts));
    }

    /// Sets what the command answers. It is kept with the verdict.
    pub(super) fn answer(&mut self, payload: Bytes) {
        self.payload = payload;
    }

    /// The partition of the user.
    pub(super) fn partition(&self) -> u32 {
        self.at.partition
    }

    /// The `seq` that the next fact will get.
    pub(super) fn next_seq(&self) -> i64 {
        self.at.next_seq
    }

    /// Puts a fact out and returns its `seq`.
    pub(super) fn put_out(&mut self, fact: Fact) -> i64 {
        let seq = self.at.next_seq;
        self.at.next_seq += 1;
        self.outputs.push(OutputUserEvent {
            version: 1,
            seq: u64::try_from(seq).unwrap_or(0),
            epoch: self.at.epoch,
            user_id: self.record.user_id.clone(),
            committed_ts: self.record.produced_ts,
            caused_by: self.record.input_id.clone(),
            traceparent: self.record.traceparent.clone(),
            partition: self.at.partition,
            fact: Some(fact),
        });
        seq
    }
}

/// Checks a name that a client chose: Postgres holds no NUL, and nothing is unbounded.
pub(super) fn check_name(what: &str, name: &str, max_bytes: usize) -> Result<(), Stop> {
    if name.len() > max_bytes {
        return refuse(ErrorReason::InvalidParam, format!("{what} exceeds {max_bytes} bytes"));
    }
    if name.contains('\0') {
        return refuse(ErrorReason::InvalidParam, format!("{what} contains a NUL character"));
    }
    Ok(())
}
