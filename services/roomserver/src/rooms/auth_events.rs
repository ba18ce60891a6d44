//! Selects the auth events of an event, and checks the authorization rules against a state.
//!
//! An event built here cites the current state, so the check against its auth events and the one against the state
//! before it are the same check.

use std::sync::Arc;

use plexus_events::{Pdu, Power, auth};
use plexus_proto::common::v1::ErrorReason;
use ruma::{
    EventId, OwnedEventId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde_json::value::RawValue;

use super::{
    ids::EventNid,
    state::{MEMBER, key_of},
    state_cache::{AuthCacheKey, StateEvent},
    states::{StateRef, parse},
    work::{Stop, Work, all},
};

/// The entries of the current state that authorize an event.
pub(super) struct AuthEvents {
    entries: Vec<(StateEventType, String, Arc<StateEvent>)>,
    /// The create event, which versions 12 and later do not cite.
    create: Arc<StateEvent>,
    /// Whether the create event is one of the entries that were asked for.
    cites_create: bool,
    /// What the verdict on an ordinary message depends on.
    cache_key: Option<AuthCacheKey>,
}

impl AuthEvents {
    /// Numeric IDs of the auth events.
    pub(super) fn nids(&self) -> Vec<EventNid> {
        self.entries.iter().map(|(.., event)| event.nid).collect()
    }

    /// IDs of the auth events.
    pub(super) fn ids(&self) -> Vec<OwnedEventId> {
        self.entries.iter().map(|(.., event)| event.event_id.clone()).collect()
    }

    /// Generation of an event that they authorize.
    pub(super) fn generation(&self) -> i32 {
        let highest = self.entries.iter().map(|(.., event)| event.auth_generation).max();
        highest.unwrap_or(self.create.auth_generation).saturating_add(1)
    }

    fn find(&self, event_type: &StateEventType, state_key: &str) -> Option<&Pdu> {
        let found = self.entries.iter().find(|(held, key, _)| held == event_type && key == state_key);
        match found {
            Some((.., event)) => Some(&event.pdu),
            None if *event_type == StateEventType::RoomCreate && state_key.is_empty() => {
                Some(&self.create.pdu)
            }
            None => None,
        }
    }

    /// Like [`Self::find`], but a state without a create event has none. (Versions 12 and later do not look for it.)
    fn find_held(&self, event_type: &StateEventType, state_key: &str) -> Option<&Pdu> {
        let found = self.entries.iter().find(|(held, key, _)| held == event_type && key == state_key);
        found.map(|(.., event)| &event.pdu).or_else(|| {
            let wanted = *event_type == StateEventType::RoomCreate && state_key.is_empty();
            (wanted && !self.cites_create).then_some(&self.create.pdu)
        })
    }

    fn find_by_id(&self, id: &EventId) -> Option<&Pdu> {
        let cited = self.entries.iter().map(|(.., event)| event);
        cited.chain([&self.create]).find(|event| event.event_id == id).map(|event| &event.pdu)
    }
}

impl Work<'_> {
    /// Returns the auth events of an ordinary message.
    pub(super) fn message_auth_events(&mut self, sender: &UserId, at: &StateRef) -> Result<AuthEvents, Stop> {
        let mut keys = vec![
            (StateEventType::RoomPowerLevels, String::new()),
            (StateEventType::RoomMember, sender.to_string()),
        ];
        if !self.rules().room_id_is_create_hash() {
            keys.push((StateEventType::RoomCreate, String::new()));
        }
        let mut auth_events = self.auth_events_at(keys, at)?;
        let held = |wanted: &StateEventType| {
            auth_events.entries.iter().find(|(held, ..)| held == wanted).map(|(.., event)| event.nid)
        };
        auth_events.cache_key = held(&StateEventType::RoomMember).map(|sender_member| AuthCacheKey {
            create: auth_events.create.nid,
            power_levels: held(&StateEventType::RoomPowerLevels),
            sender_member,
        });
        Ok(auth_events)
    }

    /// Returns the auth events of any other event.
    pub(super) fn event_auth_events(
        &mut self,
        event_type: &TimelineEventType,
        sender: &UserId,
        state_key: Option<&str>,
        content: &RawValue,
        at: &StateRef,
    ) -> Result<AuthEvents, Stop> {
        let keys = auth::auth_types(event_type, sender, state_key, content, self.rules())
            .map_err(|refused| Stop::forbidden(refused.0))?;
        self.auth_events_at(keys, at)
    }

    fn auth_events_at(
        &mut self,
        keys: Vec<(StateEventType, String)>,
        at: &StateRef,
    ) -> Result<AuthEvents, Stop> {
        let cites_create = keys.iter().any(|(event_type, _)| *event_type == StateEventType::RoomCreate);
        let entries = all(keys.into_iter().map(|(event_type, state_key)| {
            let event = self.state_at(at, &event_type.to_string(), &state_key)?;
            Ok(event.map(|event| (event_type, state_key, event)))
        }));
        let create = self.create_event()?;
        let entries = entries?.into_iter().flatten().collect();
        Ok(AuthEvents { entries, create, cites_create, cache_key: None })
    }

    /// Checks the rules for an ordinary message: one without a state key and of a type without rules of its own.
    /// The verdict is remembered; `event` is only built if it is not known yet.
    pub(super) fn check_message(
        &mut self,
        event_type: &str,
        held: &AuthEvents,
        event: impl FnOnce() -> Result<Pdu, Stop>,
    ) -> Result<(), Stop> {
        if let Some(cache_key) = held.cache_key
            && self.room.state_cache.is_allowed(cache_key, event_type)
        {
            return Ok(());
        }
        self.check(&event()?, held)?;
        if let Some(cache_key) = held.cache_key {
            Arc::make_mut(&mut self.room.state_cache).allow(cache_key, event_type);
        }
        Ok(())
    }

    /// Checks the rules for an event of another server against a state. The state may be such that not even its auth
    /// events can be told: that is a refusal, too.
    pub(super) fn check_against(
        &mut self,
        event: &Pdu,
        at: &StateRef,
    ) -> Result<Result<(), auth::Refused>, Stop> {
        use ruma::state_res::Event as _;
        let keys = auth::auth_types(
            event.event_type(),
            event.sender(),
            event.state_key(),
            event.content(),
            self.rules(),
        );
        let keys = match keys {
            Ok(keys) => keys,
            Err(refused) => return Ok(Err(refused)),
        };
        let held = self.auth_events_at(keys, at)?;
        Ok(auth::check_dependent(event, self.rules(), |event_type, state_key| {
            held.find_held(event_type, state_key)
        }))
    }

    /// Returns the create event of the room, parsed.
    pub(super) fn create_event(&mut self) -> Result<Arc<StateEvent>, Stop> {
        if let Some(Some(create)) = self.room.state_cache.get(key_of("m.room.create", "")) {
            return Ok(Arc::clone(create));
        }
        let event = self.event(self.room.identity.create_nid)?;
        let parsed = Arc::new(parse(&event)?);
        self.note_state(key_of("m.room.create", ""), Some(Arc::clone(&parsed)));
        Ok(parsed)
    }

    /// Checks the rules for an event.
    pub(super) fn check(&mut self, event: &Pdu, held: &AuthEvents) -> Result<(), Stop> {
        let rules = self.rules();
        auth::check_independent(event, rules, |id| held.find_by_id(id))
            .map_err(|refused| Stop::forbidden(refused.0))?;
        auth::check_dependent(event, rules, |event_type, state_key| held.find(event_type, state_key))
            .map_err(|refused| Stop::forbidden(refused.0))
    }

    /// Refuses users who are not joined with a reason of its own.
    pub(super) fn require_joined(&mut self, user: &UserId) -> Result<(), Stop> {
        let member = self.state(MEMBER, user.as_str())?;
        match member.as_ref().and_then(|member| member.membership.as_deref()) {
            Some("join") => Ok(()),
            Some("ban") => {
                Err(Stop::Refuse(ErrorReason::Banned, "the user is banned from the room".to_owned()))
            }
            Some(_) | None => {
                Err(Stop::Refuse(ErrorReason::NotJoined, "the user is not joined to the room".to_owned()))
            }
        }
    }

    /// Runs a question on the room's power levels.
    pub(super) fn with_power<T>(
        &mut self,
        ask: impl FnOnce(&Power<'_>) -> Result<T, auth::Refused>,
    ) -> Result<T, Stop> {
        self.with_power_at(&StateRef::Current, ask)
    }

    /// Runs a question on the power levels of a state.
    pub(super) fn with_power_at<T>(
        &mut self,
        at: &StateRef,
        ask: impl FnOnce(&Power<'_>) -> Result<T, auth::Refused>,
    ) -> Result<T, Stop> {
        let create = self.create_event();
        let levels = self.state_at(at, "m.room.power_levels", "")?;
        let create = create?;
        let levels = levels.as_ref().map(|levels| &levels.pdu);
        Power::new(&create.pdu, levels, self.rules())
            .and_then(|power| ask(&power))
            .map_err(|refused| Stop::forbidden(refused.0))
    }
}

/// Whether verdicts on messages of this type depend on nothing but the sender's membership and power.
pub(super) fn is_ordinary(event_type: &TimelineEventType) -> bool {
    !matches!(
        event_type,
        TimelineEventType::RoomCreate
            | TimelineEventType::RoomMember
            | TimelineEventType::RoomPowerLevels
            | TimelineEventType::RoomThirdPartyInvite
    )
}
