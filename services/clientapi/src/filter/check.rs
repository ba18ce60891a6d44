//! Checks a filter when it is made: sync would refuse it later.

use plexus_matrix_http::MatrixError;
use plexus_patterns::Globs;
use ruma::{
    OwnedUserId,
    api::client::filter::{EventFormat, FilterDefinition},
};
use serde::Deserialize;

/// The parts of a definition that ruma lacks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Related {
    room: RelatedRoom,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RelatedRoom {
    timeline: RelatedTimeline,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RelatedTimeline {
    #[serde(rename = "related_by_rel_types")]
    _rel_types: Vec<String>,
    #[serde(rename = "related_by_senders")]
    _senders: Vec<OwnedUserId>,
}

/// Refuses a filter that sync would refuse, and a format that there is not.
pub(super) fn check(json: &str) -> Result<(), MatrixError> {
    let refuse =
        |error: serde_json::Error| MatrixError::bad_json(format!("The filter does not fit: {error}"));
    let definition: FilterDefinition = serde_json::from_str(json).map_err(refuse)?;
    serde_json::from_str::<Related>(json).map_err(refuse)?;
    if ![EventFormat::Client, EventFormat::Federation].contains(&definition.event_format) {
        return Err(MatrixError::bad_json("There is no such format of events"));
    }
    let room = &definition.room;
    let of_rooms = [&room.timeline, &room.state, &room.ephemeral, &room.account_data];
    let of_rooms = of_rooms.map(|part| (part.types.as_deref(), &*part.not_types));
    let others = [&definition.account_data, &definition.presence];
    let others = others.map(|part| (part.types.as_deref(), &*part.not_types));
    for (types, not_types) in of_rooms.into_iter().chain(others) {
        let too_many = |types: &[String]| Globs::of_filter(types).wildcards() > Globs::MAX_WILDCARDS;
        if types.is_some_and(too_many) || too_many(not_types) {
            return Err(MatrixError::invalid_param("The filter has too many types with wildcards"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sync_could_not_read_is_refused() {
        for json in [
            r#"{"room":1}"#,
            r#"{"event_format":"x"}"#,
            r#"{"room":{"rooms":["nonsense"]}}"#,
            r#"{"room":{"timeline":{"related_by_senders":["nonsense"]}}}"#,
            r#"{"room":{"timeline":{"related_by_rel_types":5}}}"#,
        ] {
            assert!(check(json).unwrap_err().is("M_BAD_JSON"), "{json}");
        }
        for json in [
            "{}",
            r#"{"event_format":"federation"}"#,
            r#"{"room":{"timeline":{"related_by_rel_types":["m.thread"],"related_by_senders":["@a:b"]}}}"#,
        ] {
            assert!(check(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn wildcards_are_bounded() {
        for part in ["account_data", "presence", "room"] {
            let with = |count: usize| {
                let types = serde_json::json!({ "not_types": vec!["a*"; count] });
                let inner = if part == "room" { serde_json::json!({ "state": types }) } else { types };
                check(&serde_json::json!({ part: inner }).to_string())
            };
            assert!(with(Globs::MAX_WILDCARDS).is_ok());
            assert!(with(Globs::MAX_WILDCARDS + 1).unwrap_err().is("M_INVALID_PARAM"));
        }
    }
}
