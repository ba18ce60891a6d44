//! Power levels, as the authorization rules read them.

use std::collections::HashSet;

use ruma::{
    Int, OwnedUserId, UserId,
    events::{TimelineEventType, room::power_levels::UserPowerLevel},
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};

use crate::{auth::Refused, pdu::Pdu, version::RoomRules};

/// Level of a creator in a room without power levels (room versions before 12).
const CREATOR_LEVEL: i32 = 100;

/// The power levels of a room.
#[derive(Debug)]
pub struct Power<'a> {
    creators: HashSet<OwnedUserId>,
    levels: Option<RoomPowerLevelsEvent<&'a Pdu>>,
    rules: &'a RoomRules,
}

impl<'a> Power<'a> {
    /// Reads the power levels of a room from its create event and its power levels event, if it has one.
    ///
    /// # Errors
    ///
    /// Fails if the create event is malformed.
    pub fn new(create: &'a Pdu, levels: Option<&'a Pdu>, rules: &'a RoomRules) -> Result<Self, Refused> {
        let creators = RoomCreateEvent::new(create).creators(&rules.rules.authorization).map_err(Refused)?;
        Ok(Self { creators, levels: levels.map(RoomPowerLevelsEvent::new), rules })
    }

    /// Level of a user.
    ///
    /// # Errors
    ///
    /// Fails if the power levels event is malformed.
    pub fn of_user(&self, user: &UserId) -> Result<UserPowerLevel, Refused> {
        let rules = &self.rules.rules.authorization;
        let creator = self.creators.contains(user);
        if creator && rules.explicitly_privilege_room_creators {
            return Ok(UserPowerLevel::Infinite);
        }
        match &self.levels {
            Some(levels) => levels.user_power_level(user, rules).map(Into::into).map_err(Refused),
            None if creator => Ok(Int::from(CREATOR_LEVEL).into()),
            None => Ok(RoomPowerLevelsIntField::UsersDefault.default_value().into()),
        }
    }

    /// Level that sending a state event of this type takes.
    ///
    /// # Errors
    ///
    /// Fails if the power levels event is malformed.
    pub fn to_send_state(&self, event_type: &TimelineEventType) -> Result<Int, Refused> {
        match &self.levels {
            Some(levels) => levels
                .event_power_level(event_type, Some(""), &self.rules.rules.authorization)
                .map_err(Refused),
            None => Ok(RoomPowerLevelsIntField::StateDefault.default_value()),
        }
    }

    /// Level that redacting other users' events takes.
    ///
    /// # Errors
    ///
    /// Fails if the power levels event is malformed.
    pub fn to_redact(&self) -> Result<Int, Refused> {
        self.field(RoomPowerLevelsIntField::Redact)
    }

    /// Level that inviting takes.
    ///
    /// # Errors
    ///
    /// Fails if the power levels event is malformed.
    pub fn to_invite(&self) -> Result<Int, Refused> {
        self.field(RoomPowerLevelsIntField::Invite)
    }

    /// Creators, if they stand above all levels, and users with a level of their own.
    ///
    /// # Errors
    ///
    /// Fails if the power levels event is malformed.
    pub fn named_users(&self) -> Result<Vec<OwnedUserId>, Refused> {
        let mut users: Vec<_> = self.creators.iter().cloned().collect();
        if let Some(levels) = &self.levels {
            let named = levels.users(&self.rules.rules.authorization).map_err(Refused)?;
            users.extend(named.into_iter().flat_map(|named| named.keys().cloned()));
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    fn field(&self, field: RoomPowerLevelsIntField) -> Result<Int, Refused> {
        match &self.levels {
            Some(levels) => {
                levels.get_as_int_or_default(field, &self.rules.rules.authorization).map_err(Refused)
            }
            None => Ok(field.default_value()),
        }
    }
}
