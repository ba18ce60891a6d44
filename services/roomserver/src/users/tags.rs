//! Tags of rooms. They are kept, and told, as the account data `m.tag` of the room.

use plexus_proto::{common::v1::ErrorReason, log::v1::SetTag};
use serde_json::{Map, Value};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    data,
};

/// Type of the account data that holds them.
pub(crate) const TAG: &str = "m.tag";
/// Most tags of a room.
const MAX_TAGS: usize = 100;

/// Sets or removes a tag. Removing one that is not there changes nothing.
pub(super) fn set(work: &mut Work<'_>, command: &SetTag) -> Result<(), Stop> {
    work.active_account()?;
    let SetTag { room_id, tag, content } = command;
    if room_id.is_empty() || tag.is_empty() {
        return refuse(ErrorReason::InvalidParam, "the room or the tag is empty");
    }
    check_name("the tag", tag, MAX_NAME_BYTES)?;
    let known = work.user.contents.get(&(room_id.clone(), TAG.to_owned()));
    // Users may set the whole of it as account data: what is not as it should be is replaced.
    let mut whole: Map<String, Value> =
        known.and_then(|content| serde_json::from_slice(content).ok()).unwrap_or_default();
    let mut tags = match whole.remove("tags") {
        Some(Value::Object(tags)) => tags,
        Some(_) | None => Map::new(),
    };
    if content.is_empty() {
        if tags.remove(tag).is_none() {
            return Ok(());
        }
    } else {
        let Ok(content) = serde_json::from_slice::<Map<String, Value>>(content) else {
            return refuse(ErrorReason::BadJson, "the tag is not a JSON object");
        };
        if let Some(order) = content.get("order")
            && !order.as_f64().is_some_and(|order| (0.0..=1.0).contains(&order))
        {
            return refuse(ErrorReason::BadJson, "the order of a tag is a number from 0 to 1");
        }
        if !tags.contains_key(tag) && tags.len() >= MAX_TAGS {
            return refuse(ErrorReason::LimitExceeded, format!("a room has at most {MAX_TAGS} tags"));
        }
        tags.insert(tag.clone(), Value::Object(content));
    }
    whole.insert("tags".to_owned(), Value::Object(tags));
    data::set(work, room_id, TAG, Value::Object(whole).to_string().into())
}
