//! The state around an event that push rules look at.

use std::sync::Arc;

use plexus_push::Power;
use ruma::OwnedUserId;

use super::{Event, MemberContent};
use crate::view::{MEMBER, Membership, POWER_LEVELS};

/// What push rules look at beside the event: the room after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Around {
    /// Members who are joined.
    pub(crate) members: u64,
    pub(crate) power: Option<Arc<Power>>,
}

impl Around {
    /// Goes back to before an event.
    pub(in crate::view) fn undo(&mut self, event: &Event, room_version: &str, creators: &[OwnedUserId]) {
        let Some(state_key) = &event.state_key else {
            return;
        };
        let before = event.replaced_content();
        match event.kind.as_str() {
            MEMBER => {
                let was = before.and_then(|content| serde_json::from_str::<MemberContent>(content).ok());
                let was_in = was.and_then(|was| was.membership) == Some(Membership::Join);
                let is_in = event.membership == Some(Membership::Join);
                self.members = self.members.saturating_add_signed(i64::from(was_in) - i64::from(is_in));
            }
            POWER_LEVELS if state_key.is_empty() => {
                self.power = plexus_push::power(before, room_version, creators);
            }
            _ => {}
        }
    }
}
