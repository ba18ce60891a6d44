//! Rooms, account data and invites that an answer begins with.

use std::sync::Arc;

use bytes::Bytes;
use plexus_matrix_http::token::SyncToken;
use ruma::OwnedRoomId;

use crate::view::{Attention, Membership, MembershipChange, OutOfBand, Room};
/// What a user was in a room at a position.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Known(MembershipChange),
    /// Nothing yet.
    Nothing,
    /// It is too long ago.
    Unknown,
}

/// A room that an answer may show.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) room: Arc<Room>,
    /// At the cut.
    pub(crate) now: MembershipChange,
    /// At the token; nothing without one.
    pub(crate) then: At,
    pub(crate) forgotten: bool,
    /// `seq` of the change since which the user has had the membership.
    pub(crate) since: u64,
    /// Account data of the room, as far as newer than the token.
    pub(crate) account_data: Vec<(String, Bytes)>,
}

/// What an answer begins with.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) candidates: Vec<Candidate>,
    /// Global account data, as far as newer than the token.
    pub(crate) account_data: Vec<(String, Bytes)>,
    pub(crate) attention: Attention,
    /// Whether the user wants no invites.
    pub(crate) blocks_invites: bool,
    /// What other servers have told of the user, as far as newer than the token.
    pub(crate) out_of_band: Vec<(OwnedRoomId, OutOfBand)>,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// What the client knows; nothing without a token.
    pub(crate) since: Option<&'a SyncToken>,
    /// Whether all rooms that the user is in are wanted, with all that they are.
    pub(crate) all_joined: bool,
    /// Now, in milliseconds since the Unix epoch.
    pub(crate) now: i64,
}

impl Reading {
    /// Whether the user is invited to a room, and wants to know it.
    pub(crate) fn shows_invite(&self, candidate: &Candidate) -> bool {
        candidate.now.membership == Membership::Invite
            && !self.blocks_invites
            && !self.attention.ignored.contains(&candidate.now.sender)
    }
}
