//! Memberships.

use ruma::OwnedUserId;
use serde::Deserialize;

/// A membership of a user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Membership {
    Join,
    Invite,
    Leave,
    Ban,
    Knock,
}

impl Membership {
    pub(crate) fn find(text: &str) -> Option<Self> {
        Some(match text {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "leave" => Self::Leave,
            "ban" => Self::Ban,
            "knock" => Self::Knock,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Leave => "leave",
            Self::Ban => "ban",
            Self::Knock => "knock",
        }
    }
}

/// A user's membership in a room changed.
#[derive(Debug, Clone)]
pub(crate) struct MembershipChange {
    pub(crate) seq: u64,
    pub(crate) membership: Membership,
    /// Sender of the member event.
    pub(crate) sender: OwnedUserId,
    /// When it came, in milliseconds since the Unix epoch.
    pub(crate) ts: i64,
}
