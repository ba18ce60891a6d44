//! Creating rooms: everything that a new room begins with goes to the log as one record, all or nothing.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};
use plexus_matrix_http::{AuthedUser, MatrixError};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{AtomicBatch, Intent, input_room_event::Body},
};
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId,
    api::client::room::{Visibility, create_room::v3::Request},
};
use serde_json::{Map, Value};

use super::{
    Rooms, content,
    create::{self, PlanError, StateEvent},
    is_rejected,
    membership::no_identity_server,
    profile::Profile,
    profile::membership_content,
    upgrade::predecessor,
};
use crate::{clock::now_ms, secrets};

/// Most events that may follow the create event in one record.
const MAX_EVENTS: usize = 1000;
/// Largest sum of contents in bytes; with their frames they fit a record of the log.
const MAX_BYTES: usize = 900 * 1024;
/// Profiles that are asked for at the same time.
const PROFILES_AT_ONCE: usize = 16;
/// What makes create events with equal contents of one user and one millisecond differ.
const NONCE: &str = "org.plexus.nonce";

impl Rooms {
    /// Creates a room.
    pub(crate) async fn create(
        &self,
        user: &AuthedUser,
        request: &Request,
    ) -> Result<OwnedRoomId, MatrixError> {
        if !request.invite_3pid.is_empty() {
            return Err(no_identity_server());
        }
        let version = request.room_version.as_ref().unwrap_or(&self.default_version);
        let alias = request.room_alias_name.as_deref().map(|name| self.alias_named(name)).transpose()?;
        let invited = create::invited(request);
        if invited.len() > MAX_EVENTS {
            return Err(too_large());
        }
        invited.iter().try_for_each(|target| self.refuse_remote_invitee(target))?;
        let (invited, remote): (Vec<_>, Vec<_>) =
            invited.into_iter().partition(|target| self.is_local(target.server_name()));
        let invitable = async |target: OwnedUserId| self.check_invitable(&target).await;
        futures::stream::iter(invited.clone())
            .map(invitable)
            .buffer_unordered(PROFILES_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let profiles = self.profiles(invited.into_iter()).await?;
        let plan = create::plan(request, &user.id, version, alias.as_deref(), &profiles)?;

        let is_successor = predecessor(&plan.create).is_some();
        let alias = alias.map(|alias| alias.to_string()).unwrap_or_default();
        // What follows the create event is not older than it.
        let timestamp = now_ms();
        let batch = AtomicBatch {
            create_pdu: Vec::new().into(),
            room_version: version.to_string(),
            intents: intents(user, plan.state, timestamp)?,
            alias,
            published: request.visibility == Visibility::Public,
        };
        let room_id = self.submit_new(user, version, plan.create, batch, timestamp).await?;
        if is_successor {
            self.take_over_settings(&user.id, &room_id).await;
        }
        self.invite_all_remote(&user.id, &room_id, remote, request.is_direct).await;
        Ok(room_id)
    }

    /// Invites users of other servers to a new room. The room is there, so it is told, whether they could be invited or not.
    async fn invite_all_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        invited: Vec<OwnedUserId>,
        is_direct: bool,
    ) {
        let mut content = membership_content("invite", None);
        if is_direct {
            content["is_direct"] = Value::Bool(true);
        }
        let content = &content;
        let invite = async |target: OwnedUserId| {
            if let Err(error) = self.invite_remote(user, room_id, &target, content).await {
                tracing::info!(%error, room.id = %room_id, "a user of another server was not invited to a new room");
            }
        };
        futures::stream::iter(invited).for_each_concurrent(PROFILES_AT_ONCE, invite).await;
    }

    /// Creates a room of a create event and what follows it.
    async fn submit_new(
        &self,
        user: &AuthedUser,
        version: &RoomVersionId,
        create: Map<String, Value>,
        mut batch: AtomicBatch,
        timestamp: i64,
    ) -> Result<OwnedRoomId, MatrixError> {
        let (room_id, create_pdu) = self.create_event(user, version, create, timestamp)?;
        batch.create_pdu = create_pdu.into();
        self.input.submit_room(&room_id, Body::Batch(batch)).await.map_err(|error| {
            // Whatever the rules refuse, it is the state that the client wants which they refuse.
            if is_rejected(&error, ErrorReason::AliasInUse) {
                MatrixError::new(http::StatusCode::BAD_REQUEST, "M_ROOM_IN_USE", "The room alias is taken")
            } else if is_rejected(&error, ErrorReason::Forbidden) {
                invalid_state(error.to_string())
            } else {
                error.into()
            }
        })?;
        Ok(room_id)
    }

    fn alias_named(&self, name: &str) -> Result<OwnedRoomAliasId, MatrixError> {
        if name.contains(':') {
            return Err(MatrixError::invalid_param(
                "`room_alias_name` is only the part of the alias before the colon",
            ));
        }
        let alias = RoomAliasId::parse(format!("#{name}:{}", self.server_name)).map_err(|error| {
            MatrixError::invalid_param(format!("`room_alias_name` is not valid: {error}"))
        })?;
        self.check_new_alias(&alias)?;
        Ok(alias)
    }

    async fn profiles(
        &self,
        users: impl Iterator<Item = OwnedUserId>,
    ) -> Result<HashMap<OwnedUserId, Profile>, MatrixError> {
        let profile = async |user: OwnedUserId| Ok((user.clone(), self.profile(&user).await?));
        futures::stream::iter(users).map(profile).buffer_unordered(PROFILES_AT_ONCE).try_collect().await
    }

    /// Builds the create event and the room ID, which are one in later room versions: there, two create events must never
    /// be the same, so each has something random in its content.
    pub(super) fn create_event(
        &self,
        user: &AuthedUser,
        version: &RoomVersionId,
        mut content: Map<String, Value>,
        timestamp: i64,
    ) -> Result<(OwnedRoomId, Vec<u8>), MatrixError> {
        let named_by_event =
            version.rules().is_some_and(|rules| rules.authorization.room_create_event_id_as_room_id);
        let room_id = (!named_by_event).then(|| RoomId::new_v1(&self.server_name));
        if named_by_event {
            content.insert(NONCE.to_owned(), Value::from(secrets::random_text()));
        }
        plexus_events::create::unsigned_create_event(
            version,
            &user.id,
            room_id.as_deref(),
            content,
            timestamp,
        )
        .map_err(|error| invalid_state(error.to_string()))
    }
}

pub(super) fn intents(
    user: &AuthedUser,
    state: Vec<StateEvent>,
    timestamp: i64,
) -> Result<Vec<Intent>, MatrixError> {
    if state.len() > MAX_EVENTS {
        return Err(too_large());
    }
    let mut bytes = 0;
    let intent = |event: StateEvent| {
        let json = event.content.to_string();
        content::check(&json)?;
        bytes += json.len() + event.event_type.len() + event.state_key.len();
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        Ok(Intent {
            sender: user.id.to_string(),
            r#type: event.event_type,
            state_key: Some(event.state_key),
            content: json.into_bytes().into(),
            origin_server_ts: timestamp,
            with_profile: event.with_profile,
            ..Intent::default()
        })
    };
    state.into_iter().map(intent).collect()
}

fn too_large() -> MatrixError {
    MatrixError::too_large("The room begins with too many events")
}

fn invalid_state(error: String) -> MatrixError {
    MatrixError::new(http::StatusCode::BAD_REQUEST, "M_INVALID_ROOM_STATE", error)
}

impl From<PlanError> for MatrixError {
    fn from(error: PlanError) -> Self {
        let message = error.to_string();
        match error {
            PlanError::UnsupportedVersion(_) => {
                Self::new(http::StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", message)
            }
            PlanError::Malformed { .. } => Self::bad_json(message),
            PlanError::InvalidState(_) => invalid_state(message),
        }
    }
}
