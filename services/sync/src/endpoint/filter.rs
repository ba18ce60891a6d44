//! Filters: what of an answer the client wants.

use std::sync::Arc;

use moka::sync::Cache;
use plexus_matrix_http::MatrixError;
use plexus_patterns::Globs;
use plexus_proto::room::v1::TimelineFilter;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::filter::{
        EventFormat, Filter as DataFilter, FilterDefinition, LazyLoadOptions, RoomEventFilter, UrlFilter,
    },
};
use serde::Deserialize;

use super::fields::Fields;
use crate::{SyncService, limits, view::Event};

/// Filters that were asked for by ID lately. What an ID names never changes.
#[derive(Clone)]
pub(crate) struct Filters {
    by_id: Cache<(OwnedUserId, String), Known>,
    all: Arc<Filter>,
}

/// A filter, and the bytes of its definition.
#[derive(Clone)]
struct Known {
    filter: Arc<Filter>,
    bytes: usize,
}

/// Bytes that are kept of all filters, each with some for itself: what is read takes several times its definition.
const MAX_KEPT: u64 = 16 * 1024 * 1024;
/// What a filter weighs beside its definition.
const BASE_WEIGHT: usize = 1024;

/// Largest filter in a query string.
const MAX_INLINE: usize = 64 * 1024;

/// A filter, read.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    definition: FilterDefinition,
    pub(crate) fields: Option<Fields>,
    pub(crate) federation_format: bool,
    pub(crate) timeline: Matcher,
    pub(crate) state: Matcher,
    pub(crate) room_account_data: Matcher,
    pub(crate) ephemeral: Matcher,
    pub(crate) account_data: Matcher,
}

/// Which events of one part of the answer are wanted.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    types: Option<Vec<String>>,
    not_types: Vec<String>,
    /// The same, compiled.
    globs: (Option<Globs>, Globs),
    senders: Option<Vec<OwnedUserId>>,
    not_senders: Vec<OwnedUserId>,
    rooms: Option<Vec<OwnedRoomId>>,
    not_rooms: Vec<OwnedRoomId>,
    contains_url: Option<bool>,
    related: Related,
}

/// What is wanted of the events that relate to an event: parts of a filter that ruma lacks.
#[derive(Debug, Default, Clone, Deserialize)]
struct Related {
    /// Only events that others relate to with one of these relation types; empty for any.
    #[serde(default, rename = "related_by_rel_types")]
    rel_types: Vec<String>,
    /// Only events that one of these users has related to; empty for any.
    #[serde(default, rename = "related_by_senders")]
    senders: Vec<OwnedUserId>,
}

#[derive(Debug, Default, Deserialize)]
struct RelatedDefinition {
    #[serde(default)]
    room: RelatedParts,
}

#[derive(Debug, Default, Deserialize)]
struct RelatedParts {
    #[serde(default)]
    timeline: Related,
}

#[derive(Deserialize)]
struct WithUrl {
    url: Option<serde_json::Value>,
}

impl Filters {
    pub(crate) fn new() -> Self {
        let weigh = |_: &_, known: &Known| u32::try_from(known.bytes + BASE_WEIGHT).unwrap_or(u32::MAX);
        Self { by_id: Cache::builder().max_capacity(MAX_KEPT).weigher(weigh).build(), all: Arc::default() }
    }

    /// Reads the `filter` of a query string: a definition, or the ID of one.
    pub(crate) async fn get(
        &self,
        service: &SyncService,
        user_id: &OwnedUserId,
        filter: Option<&str>,
    ) -> Result<Arc<Filter>, MatrixError> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            return Ok(Arc::clone(&self.all));
        };
        if filter.starts_with('{') {
            if filter.len() > MAX_INLINE {
                return Err(MatrixError::too_large("The filter is too large"));
            }
            let filter = Filter::parse(filter.as_bytes())?;
            if ![EventFormat::Client, EventFormat::Federation].contains(&filter.definition.event_format) {
                return Err(MatrixError::bad_json("There is no such format of events"));
            }
            return Ok(Arc::new(filter));
        }
        let key = (user_id.clone(), filter.to_owned());
        if let Some(known) = self.by_id.get(&key) {
            return Ok(known.filter);
        }
        let json = service.upstream.filter(user_id, filter).await?;
        let filter = Arc::new(Filter::parse(&json)?);
        self.by_id.insert(key, Known { filter: Arc::clone(&filter), bytes: json.len() });
        Ok(filter)
    }
}

impl Filter {
    /// Reads a definition.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, MatrixError> {
        let refuse = |error: serde_json::Error| {
            if error.is_data() {
                MatrixError::bad_json(format!("The filter does not fit: {error}"))
            } else {
                MatrixError::not_json(format!("The filter is not JSON: {error}"))
            }
        };
        let definition: FilterDefinition = serde_json::from_slice(json).map_err(refuse)?;
        let related: RelatedDefinition = serde_json::from_slice(json).map_err(refuse)?;
        let mut timeline = Matcher::of_room(&definition.room.timeline);
        timeline.related = related.room.timeline;
        let filter = Self {
            fields: definition.event_fields.as_deref().map(Fields::new),
            federation_format: definition.event_format == EventFormat::Federation,
            timeline,
            state: Matcher::of_room(&definition.room.state),
            room_account_data: Matcher::of_room(&definition.room.account_data),
            ephemeral: Matcher::of_room(&definition.room.ephemeral),
            account_data: Matcher::of_data(&definition.account_data),
            definition,
        };
        let parts = [
            &filter.timeline,
            &filter.state,
            &filter.room_account_data,
            &filter.ephemeral,
            &filter.account_data,
        ];
        if parts.into_iter().any(Matcher::has_too_many_wildcards) {
            return Err(MatrixError::invalid_param("The filter has too many types with wildcards"));
        }
        Ok(filter)
    }

    pub(crate) fn wants_room(&self, room_id: &RoomId) -> bool {
        let room = &self.definition.room;
        is_in(room_id, room.rooms.as_deref(), &room.not_rooms)
    }

    pub(crate) fn include_leave(&self) -> bool {
        self.definition.room.include_leave
    }

    /// Whether unread notifications are wanted by thread.
    pub(crate) fn by_thread(&self) -> bool {
        self.definition.room.timeline.unread_thread_notifications
    }

    /// How many events of a timeline.
    pub(crate) fn timeline_limit(&self) -> usize {
        let (default, most) = limits::TIMELINE_LIMIT;
        let limit = self.definition.room.timeline.limit;
        limit.map_or(default, |limit| usize::try_from(u64::from(limit)).unwrap_or(most)).min(most)
    }

    /// Whether a timeline of the room is wanted at all.
    pub(crate) fn wants_timeline(&self, room_id: &RoomId) -> bool {
        self.timeline_limit() > 0 && self.timeline.wants_room(room_id)
    }

    /// Whether only those members are wanted that the timeline needs; then, whether also those that were sent before.
    pub(crate) fn lazy_members(&self) -> Option<Redundant> {
        let options = [
            self.definition.room.state.lazy_load_options,
            // Some clients set it here.
            self.definition.room.timeline.lazy_load_options,
        ];
        options.into_iter().find_map(|options| match options {
            LazyLoadOptions::Disabled => None,
            LazyLoadOptions::Enabled { include_redundant_members: true } => Some(Redundant::Included),
            LazyLoadOptions::Enabled { include_redundant_members: false } => Some(Redundant::LeftOut),
        })
    }
}

/// What becomes of members that were sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redundant {
    Included,
    LeftOut,
}

impl Matcher {
    fn of_room(filter: &RoomEventFilter) -> Self {
        Self {
            globs: compile(filter.types.as_deref(), &filter.not_types),
            types: filter.types.clone(),
            not_types: filter.not_types.clone(),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            rooms: filter.rooms.clone(),
            not_rooms: filter.not_rooms.clone(),
            contains_url: filter.url_filter.as_ref().map(|url| match url {
                UrlFilter::EventsWithUrl => true,
                UrlFilter::EventsWithoutUrl => false,
            }),
            related: Related::default(),
        }
    }

    fn of_data(filter: &DataFilter) -> Self {
        Self {
            globs: compile(filter.types.as_deref(), &filter.not_types),
            types: filter.types.clone(),
            not_types: filter.not_types.clone(),
            senders: filter.senders.clone(),
            not_senders: filter.not_senders.clone(),
            ..Self::default()
        }
    }

    fn has_too_many_wildcards(&self) -> bool {
        let (types, not_types) = &self.globs;
        [types.as_ref(), Some(not_types)]
            .into_iter()
            .flatten()
            .any(|globs| globs.wildcards() > Globs::MAX_WILDCARDS)
    }

    /// Whether every event is wanted.
    pub(crate) fn wants_all(&self) -> bool {
        self.types.is_none()
            && self.not_types.is_empty()
            && self.senders.is_none()
            && self.not_senders.is_empty()
            && self.contains_url.is_none()
    }

    /// Whether anything of the room may match.
    pub(crate) fn wants_room(&self, room_id: &RoomId) -> bool {
        is_in(room_id, self.rooms.as_deref(), &self.not_rooms)
    }

    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.wants_type(&event.kind) && self.wants_sender(&event.sender) && self.wants_url(event)
    }

    /// Whether account data of this type is wanted; its sender is the user.
    pub(crate) fn wants_data(&self, kind: &str, user_id: &UserId) -> bool {
        self.wants_type(kind) && self.wants_sender(user_id)
    }

    /// Whether ephemeral events of this type are wanted; they have no sender.
    pub(crate) fn wants_ephemeral(&self, kind: &str, room_id: &RoomId) -> bool {
        self.wants_type(kind) && self.wants_room(room_id)
    }

    fn wants_type(&self, kind: &str) -> bool {
        let (types, not_types) = &self.globs;
        !not_types.matches(kind) && types.as_ref().is_none_or(|types| types.matches(kind))
    }

    fn wants_sender(&self, sender: &UserId) -> bool {
        is_in(sender, self.senders.as_deref(), &self.not_senders)
    }

    fn wants_url(&self, event: &Event) -> bool {
        let Some(wanted) = self.contains_url else {
            return true;
        };
        let url = event.read_content::<WithUrl>().and_then(|content| content.url);
        url.is_some_and(|url| url.is_string()) == wanted
    }

    /// Whether it is for the room server to tell what matches, who knows what relates to an event.
    pub(crate) fn asks_for_relations(&self) -> bool {
        !self.related.rel_types.is_empty() || !self.related.senders.is_empty()
    }

    /// The filter as the room server applies it.
    pub(crate) fn for_upstream(&self) -> TimelineFilter {
        let users = |users: &[OwnedUserId]| users.iter().map(ToString::to_string).collect();
        TimelineFilter {
            types: self.types.clone().unwrap_or_default(),
            has_types: self.types.is_some(),
            not_types: self.not_types.clone(),
            senders: users(self.senders.as_deref().unwrap_or_default()),
            has_senders: self.senders.is_some(),
            not_senders: users(&self.not_senders),
            contains_url: self.contains_url,
            related_by_rel_types: self.related.rel_types.clone(),
            related_by_senders: users(&self.related.senders),
            // Those are left out here, as in what is in memory.
            ignored_users: Vec::new(),
        }
    }
}

fn compile(types: Option<&[String]>, not_types: &[String]) -> (Option<Globs>, Globs) {
    (types.map(Globs::of_filter), Globs::of_filter(not_types))
}

fn is_in<B: PartialEq + ?Sized, O: std::borrow::Borrow<B>>(
    id: &B,
    included: Option<&[O]>,
    excluded: &[O],
) -> bool {
    let contains = |ids: &[O]| ids.iter().any(|known| known.borrow() == id);
    !contains(excluded) && included.is_none_or(contains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_filters_are_refused_by_what_is_wrong_with_them() {
        assert!(Filter::parse(b"{").unwrap_err().is("M_NOT_JSON"));
        assert!(Filter::parse(br#"{"room":1}"#).unwrap_err().is("M_BAD_JSON"));
        assert!(Filter::parse(br#"{"room":{"rooms":["nonsense"]}}"#).unwrap_err().is("M_BAD_JSON"));
        assert!(Filter::parse(b"{}").is_ok());
    }

    #[test]
    fn types_with_wildcards_are_bounded_and_others_are_not() {
        let types = |of: &str, count: usize| {
            let types: Vec<String> = (0..count).map(|number| format!("{of}{number}")).collect();
            Filter::parse(
                serde_json::json!({ "room": { "timeline": { "types": types } } }).to_string().as_bytes(),
            )
        };
        assert!(types("m.*.", Globs::MAX_WILDCARDS).is_ok());
        assert!(types("m.*.", Globs::MAX_WILDCARDS + 1).unwrap_err().is("M_INVALID_PARAM"));
        assert!(types("m.", 1_000).is_ok());
    }

    #[test]
    fn limits_are_bounded() {
        let limit = |json: &[u8]| Filter::parse(json).unwrap().timeline_limit();
        assert_eq!(limit(b"{}"), 10);
        assert_eq!(limit(br#"{"room":{"timeline":{"limit":0}}}"#), 0);
        assert_eq!(limit(br#"{"room":{"timeline":{"limit":1000000}}}"#), 1_000);
    }
}
