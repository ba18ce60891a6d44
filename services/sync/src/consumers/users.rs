//! `OutputUserEvent` into the view.

use std::sync::Arc;

use plexus_log::OutputUser;
use plexus_proto::log::v1::{OutputUserEvent, output_user_event::Fact};
use plexus_service::TraceContext;
use ruma::UserId;
use tracing::error;

use super::follower::Feed;
use crate::{
    clock::now_ms,
    metrics as names,
    positions::{Positions, Track, Vector},
    upstream::{Range, Upstream, UpstreamError},
    view::{AccountChange, View, Woken},
};

/// Applies what happens to users.
pub(crate) struct Users {
    view: Arc<View>,
    upstream: Upstream,
    positions: Arc<Positions>,
    woken: Woken,
}

impl Users {
    pub(crate) fn new(view: Arc<View>, upstream: Upstream, positions: Arc<Positions>) -> Self {
        Self { view, upstream, positions, woken: Woken::default() }
    }
}

impl Feed for Users {
    type Topic = OutputUser;
    type Prepared = ();

    fn track(&self) -> &Track {
        &self.positions.users
    }

    async fn heads(&self) -> Result<Vector, UpstreamError> {
        self.upstream.user_heads().await
    }

    async fn range(
        &self,
        partition: u32,
        after: u64,
        to: u64,
    ) -> Result<Range<OutputUserEvent>, UpstreamError> {
        self.upstream.user_range(partition, after, to).await
    }

    fn place(record: &OutputUserEvent) -> (u64, u32) {
        (record.seq, record.partition)
    }

    fn trace(record: &OutputUserEvent) -> Option<TraceContext> {
        TraceContext::parse(&record.traceparent)
    }

    async fn prepare(&mut self, _: &OutputUserEvent) {}

    fn apply(&mut self, record: OutputUserEvent, (): ()) {
        let Ok(user_id) = UserId::parse(record.user_id.as_str()) else {
            let (seq, partition) = (record.seq, record.partition);
            error!(partition, seq, "record names no user, leaving it out");
            metrics::counter!(names::POISONED, "topic" => "OutputUserEvent").increment(1);
            return;
        };
        if matches!(&record.fact, Some(Fact::Deactivated(gone)) if gone.erase) {
            self.upstream.erased.add(&user_id);
        }
        let is_out = match &record.fact {
            Some(Fact::DevicesChanged(devices)) => devices.logged_out,
            Some(Fact::Deactivated(_)) => true,
            Some(_) | None => false,
        };
        if is_out {
            // Nobody is there to type.
            for room in self.view.stop_typing_everywhere(&user_id, now_ms()) {
                self.woken.room(room);
            }
        }
        let Some(user) = self.view.find_user(&user_id) else {
            return;
        };
        match record.fact {
            Some(Fact::AccountDataChanged(data)) => {
                user.set_account_data(AccountChange {
                    seq: record.seq,
                    room_id: data.room_id,
                    kind: data.r#type,
                    content: data.content,
                });
                self.woken.user(user);
            }
            Some(Fact::Deactivated(_)) => {
                user.clear_account_data(record.seq);
                self.woken.user(user);
            }
            Some(Fact::ToDevicePending(pending)) => {
                user.hear_of_messages(pending.device_ids, record.seq);
                self.woken.user(user);
            }
            // Sessions may have ended: requests that wait look whether theirs has.
            Some(Fact::DevicesChanged(devices)) => {
                user.remove_devices(devices.removed, record.seq);
                self.woken.user(user);
            }
            Some(Fact::PasswordChanged(_)) => self.woken.user(user),
            Some(Fact::Registered(_) | Fact::ProfileChanged(_)) | None => {}
        }
    }

    fn drop_partition(&mut self, partition: u32, _: u64) {
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        let users = self.view.users_in_memory();
        for user in users.into_iter().filter(|user| user.partition == partition) {
            user.unload();
            self.woken.user(user);
        }
        // Who asked to be erased meanwhile is not known; rooms tell it when they are loaded.
        for room in self.view.all_rooms() {
            room.unload();
        }
    }

    fn wake(&mut self) {
        self.woken.wake();
    }
}
