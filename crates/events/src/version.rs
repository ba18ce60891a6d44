//! Room versions that are served here.

use ruma::{
    RoomVersionId,
    room_version_rules::{EventIdFormatVersion, RoomVersionRules, StateResolutionV2Rules},
};

/// A room version that is not served here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("room version {0:?} is not supported")]
pub struct UnsupportedVersion(pub String);

/// A room version and its rules.
#[derive(Debug)]
pub struct RoomRules {
    /// The version.
    pub id: RoomVersionId,
    /// Its rules.
    pub rules: RoomVersionRules,
}

/// The versions served: 3 to 12. Versions 1 and 2 wait for their event IDs, and 1 for its state resolution.
static SERVED: [RoomRules; 10] = [
    RoomRules { id: RoomVersionId::V3, rules: RoomVersionRules::V3 },
    RoomRules { id: RoomVersionId::V4, rules: RoomVersionRules::V4 },
    RoomRules { id: RoomVersionId::V5, rules: RoomVersionRules::V5 },
    RoomRules { id: RoomVersionId::V6, rules: RoomVersionRules::V6 },
    RoomRules { id: RoomVersionId::V7, rules: RoomVersionRules::V7 },
    RoomRules { id: RoomVersionId::V8, rules: RoomVersionRules::V8 },
    RoomRules { id: RoomVersionId::V9, rules: RoomVersionRules::V9 },
    RoomRules { id: RoomVersionId::V10, rules: RoomVersionRules::V10 },
    RoomRules { id: RoomVersionId::V11, rules: RoomVersionRules::V11 },
    RoomRules { id: RoomVersionId::V12, rules: RoomVersionRules::V12 },
];

impl RoomRules {
    /// Returns the rules of a room version.
    ///
    /// # Errors
    ///
    /// Fails if the version is not served here.
    pub fn of(version: &str) -> Result<&'static Self, UnsupportedVersion> {
        SERVED
            .iter()
            .find(|served| served.id.as_str() == version)
            .ok_or_else(|| UnsupportedVersion(version.chars().take(64).collect()))
    }

    /// All versions that are served, oldest first.
    pub fn served() -> impl Iterator<Item = &'static Self> {
        SERVED.iter()
    }

    /// Whether event IDs are in the URL-safe alphabet of base64 (version 4 and later).
    #[must_use]
    pub fn has_url_safe_event_ids(&self) -> bool {
        self.rules.event_id_format == EventIdFormatVersion::V3
    }

    /// Whether types, state keys and IDs are limited to 255 code points rather than bytes: up to version 10, rooms hold
    /// events that other servers have let in by that.
    #[must_use]
    pub fn counts_code_points(&self) -> bool {
        !matches!(self.id, RoomVersionId::V11 | RoomVersionId::V12)
    }

    /// How state is resolved.
    #[must_use]
    pub fn state_resolution(&self) -> StateResolutionV2Rules {
        // Every version served resolves with the second algorithm.
        self.rules.state_res.v2_rules().copied().unwrap_or(StateResolutionV2Rules::V2_0)
    }

    /// Whether the room ID is the reference hash of the create event (version 12 and later).
    #[must_use]
    pub fn room_id_is_create_hash(&self) -> bool {
        self.rules.authorization.room_create_event_id_as_room_id
    }
}

#[cfg(test)]
mod tests {
    use super::RoomRules;

    #[test]
    fn versions_three_to_twelve_are_served() {
        for version in 3..=12 {
            assert_eq!(RoomRules::of(&version.to_string()).unwrap().id.as_str(), version.to_string());
        }
        for version in ["", "1", "2", "13", "06", "org.example"] {
            assert!(RoomRules::of(version).is_err(), "{version}");
        }
    }
}
