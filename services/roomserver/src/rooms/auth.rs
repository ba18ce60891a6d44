//! Whether an event may be sent: its auth events, and the rules checked against the current state.
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
    hot::{Authority, StateEvent},
    ids::EventNid,
    state::{MEMBER, key_of},
    states::{At, parse},
    work::{Stop, Work},
};

/// The entries of the current state that authorize an event.
pub(super) struct Authors {
    entries: Vec<(StateEventType, String, Arc<StateEvent>)>,
    /// The create event, which versions 12 and later do not cite.
    create: Arc<StateEvent>,
    /// Whether the create event is one of the entries that were asked for.
    cites_create: bool,
    /// What the verdict on an ordinary message depends on.
    authority: Option<Authority>,
}

impl Authors {
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
    /// Reads the state entries that authorize an ordinary message. `None`: something is lacking.
    pub(super) fn message_authors(&mut self, sender: &UserId, at: &At) -> Result<Option<Authors>, Stop> {
        let mut keys = vec![
            (StateEventType::RoomPowerLevels, String::new()),
            (StateEventType::RoomMember, sender.to_string()),
        ];
        if !self.rules().room_id_is_create_hash() {
            keys.push((StateEventType::RoomCreate, String::new()));
        }
        let Some(mut authors) = self.authors(keys, at)? else { return Ok(None) };
        let held = |wanted: &StateEventType| {
            authors.entries.iter().find(|(held, ..)| held == wanted).map(|(.., event)| event.nid)
        };
        authors.authority = held(&StateEventType::RoomMember).map(|sender_member| Authority {
            create: authors.create.nid,
            power_levels: held(&StateEventType::RoomPowerLevels),
            sender_member,
        });
        Ok(Some(authors))
    }

    /// Reads the state entries that authorize any other event. `None`: something is lacking.
    pub(super) fn event_authors(
        &mut self,
        event_type: &TimelineEventType,
        sender: &UserId,
        state_key: Option<&str>,
        content: &RawValue,
        at: &At,
    ) -> Result<Option<Authors>, Stop> {
        let keys = auth::auth_types(event_type, sender, state_key, content, self.rules())
            .map_err(|refused| Stop::forbidden(refused.0))?;
        self.authors(keys, at)
    }

    fn authors(&mut self, keys: Vec<(StateEventType, String)>, at: &At) -> Result<Option<Authors>, Stop> {
        let mut entries = Vec::with_capacity(keys.len());
        let mut lacking = false;
        let cites_create = keys.iter().any(|(event_type, _)| *event_type == StateEventType::RoomCreate);
        for (event_type, state_key) in keys {
            match self.state_at(at, &event_type.to_string(), &state_key)? {
                Some(Some(event)) => entries.push((event_type, state_key, event)),
                Some(None) => {}
                None => lacking = true,
            }
        }
        let create = self.create_event()?;
        let (Some(create), false) = (create, lacking) else { return Ok(None) };
        Ok(Some(Authors { entries, create, cites_create, authority: None }))
    }

    /// Checks the rules for an ordinary message: one without a state key and of a type without rules of its own.
    /// The verdict is remembered; `event` is only built if it is not known yet.
    pub(super) fn check_message(
        &mut self,
        event_type: &str,
        authors: &Authors,
        event: impl FnOnce() -> Result<Pdu, Stop>,
    ) -> Result<(), Stop> {
        if let Some(authority) = authors.authority
            && self.room.hot.is_allowed(authority, event_type)
        {
            return Ok(());
        }
        self.check(&event()?, authors)?;
        if let Some(authority) = authors.authority {
            Arc::make_mut(&mut self.room.hot).allow(authority, event_type);
        }
        Ok(())
    }

    /// Checks the rules for an event of another server against a state. The state may be such that not even its auth
    /// events can be told: that is a refusal, too.
    pub(super) fn check_against(&mut self, event: &Pdu, at: &At) -> Result<Result<(), auth::Refused>, Stop> {
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
        let authors = self.authors(keys, at)?;
        self.settle()?;
        let Some(authors) = authors else {
            return Err(Stop::Poison("something is lacking and nothing to be loaded".to_owned()));
        };
        Ok(auth::check_dependent(event, self.rules(), |event_type, state_key| {
            authors.find_held(event_type, state_key)
        }))
    }

    /// The create event of the room, parsed. `None`: it is lacking.
    pub(super) fn create_event(&mut self) -> Result<Option<Arc<StateEvent>>, Stop> {
        if let Some(Some(create)) = self.room.hot.get(key_of("m.room.create", "")) {
            return Ok(Some(Arc::clone(create)));
        }
        let Some(event) = self.event(self.room.identity.create_nid) else { return Ok(None) };
        let parsed = Arc::new(parse(&event)?);
        self.note_state(key_of("m.room.create", ""), Some(Arc::clone(&parsed)));
        Ok(Some(parsed))
    }

    /// Checks the rules for an event.
    pub(super) fn check(&mut self, event: &Pdu, authors: &Authors) -> Result<(), Stop> {
        let rules = self.rules();
        auth::check_independent(event, rules, |id| authors.find_by_id(id))
            .map_err(|refused| Stop::forbidden(refused.0))?;
        auth::check_dependent(event, rules, |event_type, state_key| authors.find(event_type, state_key))
            .map_err(|refused| Stop::forbidden(refused.0))
    }

    /// Refuses users who are not joined with a reason of its own.
    pub(super) fn require_joined(&mut self, user: &UserId) -> Result<(), Stop> {
        let Some(member) = self.state_at(&At::Current, MEMBER, user.as_str())? else { return self.settle() };
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
        self.with_power_at(&At::Current, ask)
    }

    /// Runs a question on the power levels of a state.
    pub(super) fn with_power_at<T>(
        &mut self,
        at: &At,
        ask: impl FnOnce(&Power<'_>) -> Result<T, auth::Refused>,
    ) -> Result<T, Stop> {
        let create = self.create_event()?;
        let levels = self.state_at(at, "m.room.power_levels", "")?;
        self.settle()?;
        let create = create.ok_or_else(|| Stop::Poison("the room has no create event".to_owned()))?;
        let levels = levels.flatten();
        let levels = levels.as_ref().map(|levels| &levels.pdu);
        Power::new(&create.pdu, levels, self.rules())
            .and_then(|power| ask(&power))
            .map_err(|refused| Stop::forbidden(refused.0))
    }
}
