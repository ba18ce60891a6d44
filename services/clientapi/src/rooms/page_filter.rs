//! Filters of pages of a timeline, and of the state that comes with one.

use std::sync::OnceLock;

use plexus_matrix_http::MatrixError;
use plexus_patterns::Globs;
use plexus_proto::room::v1::{RoomEvent, TimelineFilter};
use ruma::{
    OwnedUserId, RoomId,
    api::client::filter::{LazyLoadOptions, RoomEventFilter, UrlFilter},
};
use serde::Deserialize;

use super::{broken_answer, ignored::Ignored};

/// Which events a client wants: ruma's filter, and what it lacks.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageFilter {
    #[serde(flatten)]
    events: RoomEventFilter,
    /// Only events that others relate to with one of these relation types.
    #[serde(default)]
    related_by_rel_types: Vec<String>,
    /// Only events that one of these users has related to.
    #[serde(default)]
    related_by_senders: Vec<String>,
    /// The globs of the filter, compiled when they are first needed.
    #[serde(skip)]
    types: OnceLock<Types>,
}

/// Types of events that a filter names.
#[derive(Debug)]
struct Types {
    wanted: Option<Globs>,
    unwanted: Globs,
}

/// The parts of an event that a filter looks at.
#[derive(Deserialize)]
struct Parts {
    #[serde(rename = "type")]
    kind: String,
    sender: String,
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    url: Option<serde_json::Value>,
}

impl PageFilter {
    /// Refuses a filter that would be much work to apply.
    pub(crate) fn check(&self) -> Result<(), MatrixError> {
        let wildcards = |types: &[String]| types.iter().filter(|pattern| pattern.contains('*')).count();
        let types = self.events.types.as_deref().unwrap_or_default();
        if wildcards(types).max(wildcards(&self.events.not_types)) > Globs::MAX_WILDCARDS {
            return Err(MatrixError::invalid_param("The filter has too many types with wildcards"));
        }
        Ok(())
    }

    /// Whether members come only if they sent something.
    pub(super) fn is_lazy(&self) -> bool {
        matches!(self.events.lazy_load_options, LazyLoadOptions::Enabled { .. })
    }

    /// How many events at most.
    pub(super) fn limit(&self) -> u64 {
        self.events.limit.map_or(u64::MAX, u64::from)
    }

    /// Whether anything of the room is wanted.
    pub(super) fn wants_room(&self, room_id: &RoomId) -> bool {
        let filter = &self.events;
        let listed = filter.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|room| room == room_id));
        listed && !filter.not_rooms.iter().any(|room| room == room_id)
    }

    /// Whether an event of the state is wanted. One that cannot be read is not, and is reported.
    pub(super) fn wants(&self, event: &RoomEvent) -> bool {
        serde_json::from_slice::<Parts>(&event.json)
            .inspect_err(|error| drop(broken_answer("event", error)))
            .is_ok_and(|event| self.wants_parts(&event))
    }

    fn wants_parts(&self, event: &Parts) -> bool {
        let filter = &self.events;
        let types = self.types.get_or_init(|| Types {
            wanted: filter.types.as_deref().map(Globs::of_filter),
            unwanted: Globs::of_filter(&filter.not_types),
        });
        let sent_by_one = |users: &[OwnedUserId]| users.iter().any(|user| *user == *event.sender);
        let has_url = event.content.url.as_ref().is_some_and(serde_json::Value::is_string);
        !types.unwanted.matches(&event.kind)
            && types.wanted.as_ref().is_none_or(|types| types.matches(&event.kind))
            && !sent_by_one(&filter.not_senders)
            && filter.senders.as_deref().is_none_or(sent_by_one)
            && filter.url_filter.is_none_or(|wanted| has_url == (wanted == UrlFilter::EventsWithUrl))
    }

    /// The filter as the room server applies it to a timeline.
    pub(super) fn for_upstream(&self, ignored: &Ignored) -> TimelineFilter {
        let filter = &self.events;
        let strings = |users: &[OwnedUserId]| users.iter().map(ToString::to_string).collect::<Vec<_>>();
        TimelineFilter {
            types: filter.types.clone().unwrap_or_default(),
            has_types: filter.types.is_some(),
            not_types: filter.not_types.clone(),
            senders: filter.senders.as_deref().map(strings).unwrap_or_default(),
            has_senders: filter.senders.is_some(),
            not_senders: strings(&filter.not_senders),
            contains_url: filter.url_filter.map(|wanted| wanted == UrlFilter::EventsWithUrl),
            related_by_rel_types: self.related_by_rel_types.clone(),
            related_by_senders: self.related_by_senders.clone(),
            ignored_users: ignored.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_part_of_a_filter_chooses() {
        let event = |content: Value| RoomEvent {
            json: json!({ "type": "m.room.avatar", "sender": "@a:x", "content": content }).to_string().into(),
            ..RoomEvent::default()
        };
        let (plain, linked) = (event(json!({})), event(json!({ "url": "mxc://x/y" })));
        for (filter, wants_plain, wants_linked) in [
            (json!({}), true, true),
            (json!({ "types": ["m.room.*"] }), true, true),
            (json!({ "types": [] }), false, false),
            (json!({ "types": ["m.room.*"], "not_types": ["*.avatar"] }), false, false),
            (json!({ "senders": ["@a:x"] }), true, true),
            (json!({ "senders": ["@b:x"] }), false, false),
            (json!({ "not_senders": ["@a:x"] }), false, false),
            (json!({ "contains_url": true }), false, true),
            (json!({ "contains_url": false }), true, false),
        ] {
            let read: PageFilter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!((read.wants(&plain), read.wants(&linked)), (wants_plain, wants_linked), "{filter}");
        }
        let many = vec!["m.*"; Globs::MAX_WILDCARDS + 1];
        for (filter, fits) in [(json!({ "types": many }), false), (json!({ "types": many[1..] }), true)] {
            let read: PageFilter = serde_json::from_value(filter).unwrap();
            assert_eq!(read.check().is_ok(), fits);
        }
        assert!(!PageFilter::default().wants(&RoomEvent::default()), "what cannot be read is not wanted");
    }
}
