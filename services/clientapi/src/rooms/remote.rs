//! Rooms and users of other servers: what the federation service asks them.

use std::{future::Future, time::Duration};

use plexus_matrix_http::MatrixError;
use plexus_proto::{
    federation::v1::{
        BackfillRequest, ExchangeThirdPartyInviteRequest, InviteUserRequest, JoinRoomRequest,
        KnockRoomRequest, LeaveRoomRequest, ResolveAliasRequest, backfill_response::Outcome,
        outbound_service_client::OutboundServiceClient,
    },
    log::v1::{SetOutOfBandMembership, input_user_event::Command},
    room::v1::{CheckRestrictedJoinRequest, ListJoinedServersRequest},
};
use plexus_service::RpcChannel;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, UserId};
use serde_json::Value;

use super::{Rooms, ask, broken_answer, event_id, read::RoomMembers};

/// How long other servers are waited for, and how long for a join, which may be large.
const DEADLINE: Duration = Duration::from_secs(40);
const JOIN_DEADLINE: Duration = Duration::from_secs(130);

/// Whether events from before the timeline have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backfilled {
    /// They are there.
    Now,
    /// They may be there soon.
    Later,
    /// There are none, or nobody tells them.
    Nothing,
}

type Outbound = OutboundServiceClient<RpcChannel>;

impl Rooms {
    /// Whether other servers are asked about a room: this one is not in it, others may be, and may be asked. What is known
    /// of a room that all have left is all there is.
    pub(super) async fn is_elsewhere(
        &self,
        room_id: &RoomId,
        members: &RoomMembers,
    ) -> Result<bool, MatrixError> {
        if members.resident || self.outbound.is_none() {
            return Ok(false);
        }
        if !members.room_exists || members.is_told_of() {
            return Ok(true);
        }
        let request = ListJoinedServersRequest { room_id: room_id.to_string(), server: String::new() };
        let servers = ask(self.graph.clone().list_joined_servers(request)).await?.servers;
        Ok(!servers.is_empty())
    }

    fn outbound(&self) -> Result<Outbound, MatrixError> {
        let none = || MatrixError::not_found("This server does not federate");
        self.outbound.clone().ok_or_else(none)
    }

    /// Joins a room through another server.
    pub(super) async fn join_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        content: &Value,
    ) -> Result<(), MatrixError> {
        let request = JoinRoomRequest {
            room_id: room_id.to_string(),
            user_id: user.to_string(),
            via: via.iter().map(ToString::to_string).collect(),
            content: content.to_string().into(),
        };
        let mut outbound = self.outbound()?;
        within(JOIN_DEADLINE, outbound.join_room(request)).await.map(drop)
    }

    /// Whether another server may vouch for a join to a restricted room where nobody of this one can.
    pub(super) async fn may_others_vouch(&self, user: &UserId, room_id: &RoomId) -> bool {
        if self.outbound.is_none() {
            return false;
        }
        let request = CheckRestrictedJoinRequest { room_id: room_id.to_string(), user_id: user.to_string() };
        match ask(self.graph.clone().check_restricted_join(request)).await {
            Ok(answer) => answer.restricted && (!answer.complete || answer.authorising_user_id.is_empty()),
            Err(_) => false,
        }
    }

    /// Knocks on a room through another server.
    pub(super) async fn knock_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        let request = KnockRoomRequest {
            room_id: room_id.to_string(),
            user_id: user.to_string(),
            via: via.iter().map(ToString::to_string).collect(),
            reason: reason.unwrap_or_default().to_owned(),
        };
        let mut outbound = self.outbound()?;
        within(DEADLINE, outbound.knock_room(request)).await.map(drop)
    }

    /// Leaves a room that this server is not in, if the user is something in it. Returns whether that was all.
    pub(super) async fn leave_elsewhere(
        &self,
        user: &UserId,
        room_id: &RoomId,
        members: &RoomMembers,
        reason: Option<&str>,
    ) -> Result<bool, MatrixError> {
        match (members.out_of_band(user), members.of(user)) {
            (Some("invite" | "knock"), _) | (None, Some("invite" | "knock")) => {}
            // Out already.
            (Some(_), _) => return Ok(true),
            (None, _) => return Ok(false),
        }
        if !self.is_elsewhere(room_id, members).await? {
            return Ok(false);
        }
        let request = LeaveRoomRequest {
            room_id: room_id.to_string(),
            user_id: user.to_string(),
            reason: reason.unwrap_or_default().to_owned(),
        };
        let mut outbound = self.outbound()?;
        within(DEADLINE, outbound.leave_room(request)).await.map(|_| true)
    }

    /// Has the room itself tell what the user is, if another server has told something.
    pub(super) async fn forget_out_of_band(
        &self,
        user: &UserId,
        room_id: &RoomId,
        members: &RoomMembers,
    ) -> Result<(), MatrixError> {
        if members.out_of_band(user).is_none() {
            return Ok(());
        }
        let command = SetOutOfBandMembership { room_id: room_id.to_string(), ..Default::default() };
        self.input.submit_user(user, Command::SetOutOfBandMembership(command)).await?;
        Ok(())
    }

    /// Invites a user of another server.
    pub(super) async fn invite_remote(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        content: &Value,
    ) -> Result<OwnedEventId, MatrixError> {
        self.refuse_remote_invitee(target)?;
        let request = InviteUserRequest {
            room_id: room_id.to_string(),
            sender: sender.to_string(),
            user_id: target.to_string(),
            content: content.to_string().into(),
        };
        let mut outbound = self.outbound()?;
        event_id(&within(DEADLINE, outbound.invite_user(request)).await?.event_id)
    }

    /// Has the server of who sent a third-party invite invite the user to whom the identifier belongs.
    pub(super) async fn exchange_remote(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        user: &UserId,
        signed: &Value,
    ) -> Result<(), MatrixError> {
        let request = ExchangeThirdPartyInviteRequest {
            room_id: room_id.to_string(),
            sender: sender.to_string(),
            user_id: user.to_string(),
            signed: signed.to_string().into(),
        };
        let mut outbound = self.outbound()?;
        within(DEADLINE, outbound.exchange_third_party_invite(request)).await.map(drop)
    }

    /// Has events from before the timeline fetched, and waits for them for a while. They come all the same.
    pub(super) async fn backfill(&self, room_id: &RoomId, patience: Duration) -> Backfilled {
        let Some(mut outbound) = self.outbound.clone() else { return Backfilled::Nothing };
        let request = BackfillRequest { room_id: room_id.to_string() };
        match tokio::time::timeout(patience, outbound.backfill(request)).await {
            Err(_) => Backfilled::Later,
            Ok(Ok(answer)) => match answer.into_inner().outcome() {
                Outcome::Fetched => Backfilled::Now,
                Outcome::Unspecified | Outcome::Complete | Outcome::Failed => Backfilled::Nothing,
            },
            Ok(Err(error)) => {
                tracing::debug!(%error, room.id = %room_id, "history is not fetched");
                Backfilled::Later
            }
        }
    }

    /// Asks the server of an alias where it points, and who is there.
    pub(super) async fn resolve_remote_alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<(OwnedRoomId, Vec<OwnedServerName>), MatrixError> {
        let Some(mut outbound) = self.outbound.clone() else {
            return Err(MatrixError::not_found(format!("Room alias {alias} not found")));
        };
        let request = ResolveAliasRequest { alias: alias.to_string() };
        let answer = within(DEADLINE, outbound.resolve_alias(request)).await?;
        let room_id = answer
            .room_id
            .try_into()
            .map_err(|error: ruma::IdParseError| broken_answer("room ID", &error))?;
        let servers = answer.servers.into_iter().filter_map(|server| server.try_into().ok());
        Ok((room_id, servers.collect()))
    }
}

pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, MatrixError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(MatrixError::timed_out()),
    }
}
