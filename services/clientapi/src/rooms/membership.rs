//! Changing memberships.
//!
//! The rules of the room are applied by the room server, and so is what those rules cannot say: a kick must not lift a ban,
//! an unban must not end a membership. Only that joining twice is no second event is asked beforehand here.

use plexus_matrix_http::{
    AuthedUser, MatrixError,
    invites::{INVITE_PERMISSION, blocks_invites},
};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Forget, Intent, RoomControl, input_room_event::Body, room_control::Action},
    user::v1::GetAccountDataRequest,
};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, RoomOrAliasId, UserId};
use serde_json::{Value, json};

use super::{
    Rooms, ask, content, is_rejected,
    profile::membership_content,
    read::{EventParts, RoomMembers, state_key},
};
use crate::{
    clock::now_ms,
    membership::join_body::{JoinBody, ThirdPartySigned},
};

/// What the server alone says in a join: who the user is, and who vouches for them.
const SAID_BY_SERVER: [&str; 5] =
    ["membership", "displayname", "avatar_url", "join_authorised_via_users_server", "third_party_invite"];

impl Rooms {
    /// Joins the user to a room; a repeat changes nothing. Who vouches for a join to a restricted room is found by the
    /// room server, or at one of the other servers in the room. A room that this server is not in is joined through one of
    /// those that `via` names, or that are known to be in it.
    pub(crate) async fn join(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        via: &[OwnedServerName],
        body: JoinBody,
    ) -> Result<(), MatrixError> {
        let mut members = self.memberships(room_id, &[&user.id]).await?;
        if members.resident && members.of(&user.id) == Some("join") {
            return Ok(());
        }
        if self.is_elsewhere(room_id, &members).await? {
            if user.guest {
                return Err(MatrixError::forbidden("Guests may not join rooms of other servers"));
            }
            let content = join_content(&body)?;
            if let Some(signed) = &body.third_party_signed
                && members.out_of_band(&user.id) != Some("invite")
            {
                self.exchange_elsewhere(user, room_id, signed).await?;
            }
            match self.join_remote(&user.id, room_id, via, &content).await {
                // Somebody else of this server came in meanwhile: now it is as any other room.
                Err(error) if error.is("M_BAD_STATE") => {
                    members = self.memberships(room_id, &[&user.id]).await?;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    self.take_over_settings(&user.id, room_id).await;
                    return Ok(());
                }
            }
        }
        members.in_known_room(room_id)?;
        self.check_guest_access(user, room_id).await?;
        if let Some(signed) = &body.third_party_signed
            && members.of(&user.id) != Some("invite")
        {
            self.exchange_third_party_invite(user, room_id, signed).await?;
        }
        let content = join_content(&body)?;
        // The name of now might be an old one when the join is applied.
        let intent = Intent { with_profile: true, ..member_intent(&user.id, &user.id, &content) };
        match self.send_intent(room_id, intent).await {
            Err(error) if error.is("M_FORBIDDEN") && self.may_others_vouch(&user.id, room_id).await => {
                self.join_remote(&user.id, room_id, via, &content).await?;
            }
            sent => drop(sent?),
        }
        self.forget_out_of_band(&user.id, room_id, &members).await?;
        self.take_over_settings(&user.id, room_id).await;
        Ok(())
    }

    /// Makes an invite of an `m.room.third_party_invite` whose identifier belongs to the user, on behalf of who sent that.
    ///
    /// The rules of the room check what the identity server has signed against the keys that the event names. Whether
    /// those are still valid would be for the identity server to say, and none is asked.
    async fn exchange_third_party_invite(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        signed: &ThirdPartySigned,
    ) -> Result<(), MatrixError> {
        if !self.is_local(signed.sender.server_name()) {
            return self.exchange_elsewhere(user, room_id, signed).await;
        }
        is_for(signed, user)?;
        let keys = vec![state_key("m.room.third_party_invite", &signed.token)];
        let found = self.state_entries(room_id, None, keys, None).await?;
        let Some(event) = found.first() else {
            return Err(MatrixError::forbidden("There is no such third-party invite"));
        };
        let named = EventParts::of(event)?.content.remove("display_name");
        let mut content = membership_content("invite", None);
        content["third_party_invite"] =
            json!({ "display_name": named.unwrap_or_default(), "signed": signed.to_json() });
        content::check(&content.to_string())?;
        self.send_member(room_id, &signed.sender, &user.id, content).await
    }

    /// Has the server of who sent the invite do that: only it can speak for them.
    async fn exchange_elsewhere(
        &self,
        user: &AuthedUser,
        room_id: &RoomId,
        signed: &ThirdPartySigned,
    ) -> Result<(), MatrixError> {
        is_for(signed, user)?;
        if self.is_local(signed.sender.server_name()) {
            return Err(MatrixError::forbidden("Who has sent the invite is not in the room any more"));
        }
        self.exchange_remote(&signed.sender, room_id, &user.id, &signed.to_json()).await
    }

    /// Why nobody is invited by a third-party identifier: the room comes first, then that no identity server is trusted.
    pub(crate) async fn refuse_third_party(&self, user: &UserId, room_id: &RoomId) -> MatrixError {
        match self.memberships(room_id, &[user]).await {
            Ok(members) if members.of(user) == Some("join") => no_identity_server(),
            Ok(_) => MatrixError::forbidden("You are not in this room"),
            Err(error) => error,
        }
    }

    /// Knocks on a room.
    pub(crate) async fn knock(
        &self,
        user: &UserId,
        room_id: &RoomId,
        via: &[OwnedServerName],
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        let asked = [user];
        let members = self.memberships(room_id, &asked).await?;
        if self.is_elsewhere(room_id, &members).await? {
            return self.knock_remote(user, room_id, via, reason).await;
        }
        let (members, profile) = tokio::try_join!(self.memberships(room_id, &asked), self.profile(user))?;
        members.in_known_room(room_id)?;
        self.send_member(room_id, user, user, profile.member_content("knock", reason)).await
    }

    /// Invites a user to a room.
    pub(crate) async fn invite(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        if !self.is_local(target.server_name()) {
            let content = membership_content("invite", reason);
            return self.invite_remote(sender, room_id, target, &content).await.map(drop);
        }
        let (profile, ()) = tokio::try_join!(self.profile(target), self.check_invitable(target))?;
        let content = profile.member_content("invite", reason);
        self.send_member(room_id, sender, target, content).await
    }

    /// Refuses to invite users who want no invites.
    ///
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#invite-permission)
    pub(super) async fn check_invitable(&self, user: &UserId) -> Result<(), MatrixError> {
        let request = GetAccountDataRequest {
            user_id: user.to_string(),
            room_id: String::new(),
            r#type: INVITE_PERMISSION.to_owned(),
        };
        let content = match ask(self.users.clone().get_account_data(request)).await {
            Ok(answer) => answer.content,
            Err(error) if error.is("M_NOT_FOUND") => return Ok(()),
            Err(error) => return Err(error),
        };
        if !blocks_invites(&content) {
            return Ok(());
        }
        Err(MatrixError::new(
            http::StatusCode::FORBIDDEN,
            "M_INVITE_BLOCKED",
            format!("{user} does not want to be invited"),
        ))
    }

    /// Leaves a room, rejects its invite or withdraws a knock; a repeat changes nothing.
    pub(crate) async fn leave(
        &self,
        user: &UserId,
        room_id: &RoomId,
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        let members = self.memberships(room_id, &[user]).await?;
        if !members.resident && self.leave_elsewhere(user, room_id, &members, reason).await? {
            return Ok(());
        }
        if members.in_known_room(room_id)?.of(user) != Some("leave") {
            self.send_member(room_id, user, user, membership_content("leave", reason)).await?;
        }
        self.forget_out_of_band(user, room_id, &members).await
    }

    /// Removes a user who is in the room, invited to it or knocking on it.
    pub(crate) async fn kick(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        let from = ["join", "invite", "knock"];
        self.end_membership(room_id, (sender, target), reason, (&from, "The user is not in the room")).await
    }

    /// Bans a user.
    pub(crate) async fn ban(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        self.send_member(room_id, sender, target, membership_content("ban", reason)).await
    }

    /// Lifts a ban.
    pub(crate) async fn unban(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), MatrixError> {
        self.end_membership(
            room_id,
            (sender, target),
            reason,
            (&["ban"], "The user is not banned from the room"),
        )
        .await
    }

    /// Ends a membership of somebody else's, if it is one of some.
    async fn end_membership(
        &self,
        room_id: &RoomId,
        (sender, target): (&UserId, &UserId),
        reason: Option<&str>,
        (from, otherwise): (&[&str], &'static str),
    ) -> Result<(), MatrixError> {
        let intent = Intent {
            from_memberships: from.iter().map(|&from| from.to_owned()).collect(),
            skip_if_unchanged: false,
            ..member_intent(sender, target, &membership_content("leave", reason))
        };
        match self.send_intent(room_id, intent).await {
            Err(error) if error.is("M_BAD_STATE") => Err(MatrixError::forbidden(otherwise)),
            result => result.map(drop),
        }
    }

    /// Forgets a room that the user has left.
    pub(crate) async fn forget(&self, user: &UserId, room_id: &RoomId) -> Result<(), MatrixError> {
        let members = self.memberships(room_id, &[user]).await?;
        match members.out_of_band(user) {
            Some("leave" | "ban") => {
                self.forget_out_of_band(user, room_id, &members).await?;
                if !members.room_exists {
                    return Ok(());
                }
            }
            Some(_) if !members.resident => return Err(MatrixError::unknown("You have not left the room")),
            Some(_) | None => {}
        }
        let action = Action::Forget(Forget { user_id: user.to_string() });
        let control = Body::Control(RoomControl { action: Some(action) });
        match self.input.submit_room(room_id, control).await {
            Ok(_) => Ok(()),
            Err(error) if is_rejected(&error, ErrorReason::BadState) => {
                Err(MatrixError::unknown("You have not left the room"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Finds the room that a client names by its ID or an alias, and adds the servers that an alias names.
    pub(crate) async fn room_of(
        &self,
        room: &RoomOrAliasId,
        via: &mut Vec<OwnedServerName>,
    ) -> Result<OwnedRoomId, MatrixError> {
        match <&RoomId>::try_from(room) {
            Ok(room_id) => Ok(room_id.to_owned()),
            Err(alias) if self.is_local(alias.server_name()) => self.resolve_alias(alias).await,
            Err(alias) => {
                let (room_id, servers) = self.resolve_remote_alias(alias).await?;
                via.extend(servers);
                Ok(room_id)
            }
        }
    }

    /// Refuses to invite users of other servers where there is nobody to take the invite to them.
    pub(super) fn refuse_remote_invitee(&self, target: &UserId) -> Result<(), MatrixError> {
        if self.is_local(target.server_name()) || self.outbound.is_some() {
            return Ok(());
        }
        Err(MatrixError::not_found(format!("{target} cannot be reached: this server does not federate")))
    }

    async fn send_member(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
        content: Value,
    ) -> Result<(), MatrixError> {
        self.send_intent(room_id, member_intent(sender, target, &content)).await.map(drop)
    }
}

/// What a user says in a join.
fn join_content(body: &JoinBody) -> Result<Value, MatrixError> {
    let mut content = membership_content("join", body.reason.as_deref());
    for (key, value) in &body.rest {
        if !SAID_BY_SERVER.contains(&key.as_str()) {
            content[key] = value.clone();
        }
    }
    content::check(&content.to_string())?;
    Ok(content)
}

fn member_intent(sender: &UserId, target: &UserId, content: &Value) -> Intent {
    Intent {
        sender: sender.to_string(),
        r#type: "m.room.member".to_owned(),
        state_key: Some(target.to_string()),
        content: content.to_string().into_bytes().into(),
        origin_server_ts: now_ms(),
        skip_if_unchanged: true,
        ..Intent::default()
    }
}

fn is_for(signed: &ThirdPartySigned, user: &AuthedUser) -> Result<(), MatrixError> {
    if signed.mxid == user.id {
        Ok(())
    } else {
        Err(MatrixError::forbidden("The invite is for somebody else"))
    }
}

/// No identity server is asked whom a third-party identifier belongs to, whichever the client names.
pub(super) fn no_identity_server() -> MatrixError {
    MatrixError::new(
        http::StatusCode::FORBIDDEN,
        "M_SERVER_NOT_TRUSTED",
        "This server trusts no identity server, and cannot invite by third-party identifiers",
    )
}

impl RoomMembers {
    /// Refuses rooms that this server does not know.
    fn in_known_room(&self, room_id: &RoomId) -> Result<&Self, MatrixError> {
        if self.room_exists {
            return Ok(self);
        }
        Err(MatrixError::not_found(format!("Room {room_id} is not known to this server")))
    }
}
