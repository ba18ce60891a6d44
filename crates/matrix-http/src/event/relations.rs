//! Bundles relations of an event into its `unsigned`.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events)

use plexus_proto::room::v1::{Aggregations, RoomEvent, Thread};
use ruma::{DeviceId, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{EventError, EventFormat, EventMeta, Stored, show};

/// Who looks at events, when, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    /// User.
    pub user_id: &'a UserId,
    /// Device.
    pub device_id: &'a DeviceId,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Form of the events.
    pub format: EventFormat,
}

impl Viewer<'_> {
    /// Puts an event that the room server answered into client format, with what relations have made of it.
    ///
    /// The transaction ID goes only to the device that sent the event.
    pub fn show(
        &self,
        event: &RoomEvent,
        aggregations: Option<&Aggregations>,
    ) -> Result<Box<RawValue>, EventError> {
        let stored: Stored<'_> = serde_json::from_slice(&event.json)?;
        let relations = aggregations.map(|aggregations| bundle(aggregations, self)).transpose()?.flatten();
        let mut meta = EventMeta::of(event, Some((self.user_id, self.device_id)), self.now_ms);
        meta.relations = relations.as_deref();
        // Device IDs are unique only within a user.
        if stored.sender != self.user_id.as_str() {
            meta.txn_id = None;
        }
        show(&stored, &meta, self.format)
    }
}

/// Makes `m.relations` of what the room server told of an event: set it in [`EventMeta::relations`]. `None` if nothing
/// relates to the event in a way that is told there.
pub fn bundle(aggregations: &Aggregations, viewer: &Viewer<'_>) -> Result<Option<Box<RawValue>>, EventError> {
    let Aggregations { event_id: _, replacement, references, thread } = aggregations;
    let relations = Relations {
        replacement: replacement.as_ref().map(|event| viewer.show(event, None)).transpose()?,
        references: (!references.is_empty()).then(|| References {
            chunk: references.iter().map(|event_id| Reference { event_id }).collect(),
        }),
        thread: match thread.as_deref() {
            Some(Thread { latest: Some(latest), latest_aggregations, count, participated }) => {
                Some(ThreadSummary {
                    latest_event: viewer.show(latest, latest_aggregations.as_deref())?,
                    count: *count,
                    current_user_participated: *participated,
                })
            }
            Some(_) | None => None,
        },
    };
    let Relations { replacement, references, thread } = &relations;
    if replacement.is_none() && references.is_none() && thread.is_none() {
        return Ok(None);
    }
    Ok(Some(to_raw_value(&relations)?))
}

#[derive(Serialize)]
struct Relations<'a> {
    #[serde(rename = "m.replace", skip_serializing_if = "Option::is_none")]
    replacement: Option<Box<RawValue>>,
    #[serde(rename = "m.reference", skip_serializing_if = "Option::is_none")]
    references: Option<References<'a>>,
    #[serde(rename = "m.thread", skip_serializing_if = "Option::is_none")]
    thread: Option<ThreadSummary>,
}

#[derive(Serialize)]
struct References<'a> {
    chunk: Vec<Reference<'a>>,
}

#[derive(Serialize)]
struct Reference<'a> {
    event_id: &'a str,
}

#[derive(Serialize)]
struct ThreadSummary {
    latest_event: Box<RawValue>,
    count: u64,
    current_user_participated: bool,
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, user_id};
    use serde_json::{Value, json};

    use super::*;

    fn event(event_id: &str) -> RoomEvent {
        let json = json!({
            "type": "m.room.message", "sender": "@alice:example.org", "room_id": "!room:example.org",
            "content": { "body": event_id }, "origin_server_ts": 1,
        });
        RoomEvent {
            event_id: event_id.to_owned(),
            json: json.to_string().into(),
            room_id: "!room:example.org".to_owned(),
            ..RoomEvent::default()
        }
    }

    fn shown(aggregations: &Aggregations, format: EventFormat) -> Value {
        let viewer =
            Viewer { user_id: user_id!("@bob:example.org"), device_id: device_id!("BOB"), now_ms: 1, format };
        let shown = viewer.show(&event("$root"), Some(aggregations)).unwrap();
        serde_json::from_str(shown.get()).unwrap()
    }

    #[test]
    fn relations_are_bundled_in_the_form_of_the_event() {
        let edited = Aggregations { replacement: Some(event("$edit2")), ..Aggregations::default() };
        let aggregations = Aggregations {
            event_id: "$root".to_owned(),
            replacement: Some(event("$edit")),
            references: vec!["$a".to_owned(), "$b".to_owned()],
            thread: Some(Box::new(Thread {
                latest: Some(event("$latest")),
                latest_aggregations: Some(Box::new(edited)),
                count: 7,
                participated: true,
            })),
        };
        let relations = &shown(&aggregations, EventFormat::Client)["unsigned"]["m.relations"];
        assert_eq!(relations["m.replace"]["event_id"], "$edit");
        assert_eq!(relations["m.replace"]["room_id"], "!room:example.org");
        assert_eq!(
            relations["m.reference"],
            json!({ "chunk": [{ "event_id": "$a" }, { "event_id": "$b" }] })
        );
        let thread = &relations["m.thread"];
        assert_eq!((&thread["count"], &thread["current_user_participated"]), (&json!(7), &json!(true)));
        assert_eq!(thread["latest_event"]["content"]["body"], "$latest");
        let nested = &thread["latest_event"]["unsigned"]["m.relations"]["m.replace"];
        assert_eq!(nested["event_id"], "$edit2");
        let in_sync = &shown(&aggregations, EventFormat::Sync)["unsigned"]["m.relations"];
        assert_eq!(in_sync["m.replace"].get("room_id"), None);
    }

    #[test]
    fn nothing_is_bundled_if_nothing_relates() {
        let nothing = shown(&Aggregations::default(), EventFormat::Client);
        assert_eq!(nothing["unsigned"].get("m.relations"), None);
    }
}
