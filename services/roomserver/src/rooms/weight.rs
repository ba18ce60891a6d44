//! Limits the bytes of state that local users may put into a room.
//!
//! Every member holds the state of a room, every server sends it, and whoever joins waits for it. The sum is of the JSON of
//! the entries of the current state that local users sent; what other servers sent never counts, and is never refused.

use plexus_proto::common::v1::ErrorReason;
use ruma::UserId;

use super::{
    state::MEMBER,
    state_cache::StateEvent,
    work::{Stop, Work},
};

/// Most bytes of state of a room.
const MAX_STATE_BYTES: i64 = 32 * 1024 * 1024;
/// As far as members get it who have less power than state events need by default: where a room lets everybody set some,
/// the rest is for those who keep order in it.
const MAX_STATE_BYTES_OF_MEMBERS: i64 = 8 * 1024 * 1024;
/// What of a member event does not count: rooms have as many members as they have, and their number is bounded elsewhere.
const FREE_MEMBER_BYTES: i64 = 1024;

/// What counts of an entry of the state.
pub(super) fn counted(event_type: &str, size: usize) -> i64 {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    if event_type == MEMBER { size.saturating_sub(FREE_MEMBER_BYTES).max(0) } else { size }
}

/// Whether an event has to get through, however full the room is: what ends a stay, and what keeps order.
fn is_exempt(event_type: &str, state_key: &str, membership: Option<&str>) -> bool {
    match event_type {
        MEMBER => matches!(membership, Some("leave" | "ban")),
        "m.room.power_levels" | "m.room.tombstone" | "m.room.server_acl" | "m.room.join_rules" => {
            state_key.is_empty()
        }
        _ => false,
    }
}

impl Work<'_> {
    /// What counts of an entry of the current state.
    pub(super) fn counted_of(&self, event_type: &str, entry: Option<&StateEvent>) -> i64 {
        use ruma::state_res::Event as _;
        let is_local = |entry: &&StateEvent| entry.pdu.sender().server_name() == self.env.server_name;
        entry.filter(is_local).map_or(0, |entry| counted(event_type, entry.size))
    }

    /// An entry of the current state becomes another one.
    pub(super) fn weigh(
        &mut self,
        event_type: &str,
        before: Option<&StateEvent>,
        after: Option<&StateEvent>,
    ) {
        let change = self.counted_of(event_type, after) - self.counted_of(event_type, before);
        self.room.state_bytes = self.room.state_bytes.saturating_add(change).max(0);
    }

    /// Refuses an entry for which there is no room left. One that is smaller than what it replaces always fits.
    pub(super) fn check_weight(
        &mut self,
        sender: &UserId,
        (event_type, state_key): (&str, &str),
        membership: Option<&str>,
        (before, size): (Option<&StateEvent>, usize),
    ) -> Result<(), Stop> {
        let change = counted(event_type, size) - self.counted_of(event_type, before);
        let sum = self.room.state_bytes.saturating_add(change);
        if change <= 0 || sum <= MAX_STATE_BYTES_OF_MEMBERS || is_exempt(event_type, state_key, membership) {
            return Ok(());
        }
        // Where this type needs less power than others, so that anybody may send it.
        let limit = match self.has_power_over_state(sender)? {
            true => MAX_STATE_BYTES,
            false => MAX_STATE_BYTES_OF_MEMBERS,
        };
        if sum <= limit {
            return Ok(());
        }
        Err(Stop::Refuse(ErrorReason::TooLarge, format!("the state of the room would exceed {limit} bytes")))
    }

    fn has_power_over_state(&mut self, sender: &UserId) -> Result<bool, Stop> {
        self.with_power(|power| Ok(power.of_user(sender)? >= power.to_send_state(&"".into())?))
    }
}
