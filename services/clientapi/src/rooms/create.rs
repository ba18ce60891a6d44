//! Builds a new room: from the options of a client to the create event and what follows it.
//!
//! Pure: the same options, profiles and clock give the same events. Who may do what is for the room server to say.

mod options;
mod power_levels;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use plexus_events::RoomRules;
use ruma::{
    OwnedUserId, RoomAliasId, RoomVersionId, UserId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    room_version_rules::AuthorizationRules,
};
use serde_json::{Map, Value, json};

use super::profile::{Profile, membership_content};
use options::{CreationContent, InitialState};

/// What a new room begins with.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// Content of the create event.
    pub(crate) create: Map<String, Value>,
    /// State events that follow it, in order.
    pub(crate) state: Vec<StateEvent>,
}

/// A state event to send.
#[derive(Debug, PartialEq)]
pub(crate) struct StateEvent {
    pub(crate) event_type: String,
    pub(crate) state_key: String,
    pub(crate) content: Value,
    /// Whether the room server puts the profile of the user into it.
    pub(crate) with_profile: bool,
}

impl StateEvent {
    pub(super) fn new(event_type: &str, state_key: &str, content: Value) -> Self {
        Self {
            event_type: event_type.to_owned(),
            state_key: state_key.to_owned(),
            content,
            with_profile: false,
        }
    }

    /// The creator joins, with the name and the avatar of when the room is made.
    pub(super) fn join(creator: &UserId) -> Self {
        let content = membership_content("join", None);
        Self { with_profile: true, ..Self::new("m.room.member", creator.as_str(), content) }
    }
}

/// Why there can be no such room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The room version is not served here.
    #[error("room version {0} is not supported")]
    UnsupportedVersion(RoomVersionId),
    /// A part of the request has a wrong shape.
    #[error("{field} is malformed: {reason}")]
    Malformed { field: &'static str, reason: String },
    /// The parts of the request contradict each other or the room version.
    #[error("{0}")]
    InvalidState(String),
}

/// The rules of a version that new rooms may have: any that is served.
pub(crate) fn rules_of(version: &RoomVersionId) -> Result<AuthorizationRules, PlanError> {
    let unsupported = |_| PlanError::UnsupportedVersion(version.clone());
    Ok(RoomRules::of(version.as_str()).map_err(unsupported)?.rules.authorization.clone())
}

/// Plans a room. `profiles` holds those of all who are invited; who has none is left out.
pub(crate) fn plan(
    request: &Request,
    creator: &UserId,
    version: &RoomVersionId,
    alias: Option<&RoomAliasId>,
    profiles: &HashMap<OwnedUserId, Profile>,
) -> Result<Plan, PlanError> {
    let rules = rules_of(version)?;
    check_visibility(request)?;
    let preset = preset_of(request)?;
    let invited = invited(request);
    let trusted: &[OwnedUserId] = if preset == Preset::Trusted { &invited } else { &[] };

    let creation = CreationContent::read(request)?;
    let create = creation.into_event(creator, version, &rules, trusted);
    let mut initial = InitialState::read(request)?;
    let empty = Profile::default();
    let profile_of = |user: &UserId| profiles.get(user).unwrap_or(&empty);

    let mut state = vec![StateEvent::join(creator)];
    // Power levels that the client lists stand in for the default, and come as early: the events that follow are
    // checked by them.
    let levels = match initial.take("m.room.power_levels") {
        Some(content) => content,
        None => power_levels::content(request, creator, &create, &rules, preset, trusted)?,
    };
    state.push(StateEvent::new("m.room.power_levels", "", levels));

    let mut defaults = Vec::new();
    if let Some(alias) = alias {
        defaults.push(("m.room.canonical_alias", json!({ "alias": alias })));
    }
    defaults.extend([
        ("m.room.join_rules", json!({ "join_rule": preset.join_rule() })),
        ("m.room.history_visibility", json!({ "history_visibility": "shared" })),
    ]);
    // Without the event guests are forbidden, as they are in a public room.
    if preset.lets_guests_join() {
        defaults.push(("m.room.guest_access", json!({ "guest_access": "can_join" })));
    }
    // What `initial_state` sets too is left out: nobody should see a private room begin as a public one.
    let defaults = defaults.into_iter().filter(|(event_type, _)| !initial.contains(event_type));
    state.extend(defaults.map(|(event_type, content)| StateEvent::new(event_type, "", content)));

    // `name` and `topic` overwrite what `initial_state` says.
    let mut named = Vec::new();
    if let Some(name) = &request.name {
        initial.remove("m.room.name");
        named.push(StateEvent::new("m.room.name", "", json!({ "name": name })));
    }
    if let Some(topic) = &request.topic {
        initial.remove("m.room.topic");
        named.push(StateEvent::new("m.room.topic", "", topic_content(topic)));
    }
    state.extend(initial.into_events());
    state.extend(named);

    // Those of other servers have to be asked for their signatures, once there is a room.
    for user in invited.iter().filter(|user| user.server_name() == creator.server_name()) {
        let mut content = profile_of(user).member_content("invite", None);
        if request.is_direct {
            content["is_direct"] = Value::Bool(true);
        }
        state.push(StateEvent::new("m.room.member", user.as_str(), content));
    }
    Ok(Plan { create, state })
}

/// Returns who is to be invited, each once, in the order of the request.
pub(crate) fn invited(request: &Request) -> Vec<OwnedUserId> {
    let mut seen = BTreeSet::new();
    request.invite.iter().filter(|user| seen.insert(*user)).cloned().collect()
}

/// A topic in both its forms: a plain string, and text with a media type.
fn topic_content(topic: &str) -> Value {
    json!({
        "topic": topic,
        "m.topic": { "m.text": [{ "body": topic, "mimetype": "text/plain" }] },
    })
}

/// A preset that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preset {
    Private,
    Trusted,
    Public,
}

impl Preset {
    fn join_rule(self) -> &'static str {
        match self {
            Self::Private | Self::Trusted => "invite",
            Self::Public => "public",
        }
    }

    fn lets_guests_join(self) -> bool {
        match self {
            Self::Private | Self::Trusted => true,
            Self::Public => false,
        }
    }
}

fn preset_of(request: &Request) -> Result<Preset, PlanError> {
    use ruma::api::client::room::Visibility;
    match &request.preset {
        Some(RoomPreset::PrivateChat) => Ok(Preset::Private),
        Some(RoomPreset::TrustedPrivateChat) => Ok(Preset::Trusted),
        Some(RoomPreset::PublicChat) => Ok(Preset::Public),
        Some(other) => Err(PlanError::Malformed {
            field: "preset",
            reason: format!("{} is not a preset", other.as_str()),
        }),
        None if request.visibility == Visibility::Public => Ok(Preset::Public),
        None => Ok(Preset::Private),
    }
}

/// Refuses a visibility that is none.
fn check_visibility(request: &Request) -> Result<(), PlanError> {
    use ruma::api::client::room::Visibility;
    match &request.visibility {
        Visibility::Public | Visibility::Private => Ok(()),
        other => Err(PlanError::Malformed {
            field: "visibility",
            reason: format!("{} is neither public nor private", other.as_str()),
        }),
    }
}

/// Whether creators have power of their own, and are not to be listed in the power levels.
fn creators_are_privileged(rules: &AuthorizationRules) -> bool {
    rules.explicitly_privilege_room_creators
}
