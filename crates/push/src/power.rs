//! Power levels, as far as conditions look at them.

use std::sync::Arc;

use ruma::{
    OwnedUserId, RoomVersionId,
    events::room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
};

use crate::Power;

/// Reads the content of `m.room.power_levels`; `None` for a room without. What cannot be read gives nobody the power to
/// notify a room.
#[must_use]
pub fn power(content: Option<&str>, room_version: &str, creators: &[OwnedUserId]) -> Option<Arc<Power>> {
    let rules = RoomVersionId::try_from(room_version).ok()?.rules()?.authorization;
    let source = match content {
        Some(content) => RoomPowerLevelsSource::Original(
            serde_json::from_str::<RoomPowerLevelsEventContent>(content).ok()?,
        ),
        None => RoomPowerLevelsSource::None,
    };
    Some(Arc::new(RoomPowerLevels::new(source, &rules, creators.iter().cloned()).into()))
}
