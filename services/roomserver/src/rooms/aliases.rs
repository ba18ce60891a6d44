//! Checks the aliases that an `m.room.canonical_alias` names.

use std::collections::BTreeSet;

use plexus_events::canonical::{Object, Value};
use plexus_proto::common::v1::ErrorReason;
use ruma::{OwnedRoomAliasId, RoomAliasId};

use super::work::{Stop, Work};

/// Most alternative aliases.
const MAX_ALIASES: usize = 500;

/// Checks that the aliases which an `m.room.canonical_alias` adds to those of the one before it point at the room.
/// Aliases of other servers are taken as they are: only whoever wrote the intent can have asked those servers.
pub(super) fn check_canonical_alias(work: &mut Work<'_>, content: &Object) -> Result<(), Stop> {
    let named = named(content)?;
    let known: BTreeSet<OwnedRoomAliasId> = match work.state("m.room.canonical_alias", "")? {
        Some(event) => plexus_events::canonical::parse_object(event.pdu.content_text().as_bytes())
            .ok()
            .and_then(|content| self::named(&content).ok())
            .unwrap_or_default(),
        None => BTreeSet::new(),
    };
    let (mut wrong, mut missing) = (None, false);
    for alias in named.difference(&known) {
        if alias.server_name() != work.env.server_name {
            continue;
        }
        let set_now = work.rows.aliases_set.iter().any(|row| row.alias == *alias);
        match work.loaded.aliases.get(alias) {
            _ if set_now => {}
            Some(Some(target)) if target.room_id == work.room_id() => {}
            Some(_) => wrong = wrong.or(Some(alias)),
            None => missing |= work.request.aliases.insert(alias.clone()),
        }
    }
    match wrong {
        _ if missing => Err(Stop::Missing),
        Some(alias) => {
            Err(Stop::Refuse(ErrorReason::BadAlias, format!("the alias {alias} does not point at the room")))
        }
        None => Ok(()),
    }
}

fn named(content: &Object) -> Result<BTreeSet<OwnedRoomAliasId>, Stop> {
    let mut aliases = BTreeSet::new();
    match content.get("alias") {
        None | Some(Value::Null) => {}
        // Clients remove an alias by setting it to nothing.
        Some(Value::String(alias)) if alias.is_empty() => {}
        Some(value) => {
            aliases.insert(parse(value)?);
        }
    }
    match content.get("alt_aliases") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) if list.len() <= MAX_ALIASES => {
            for value in list {
                aliases.insert(parse(value)?);
            }
        }
        Some(_) => return Err(invalid("`alt_aliases` is not a list of aliases")),
    }
    Ok(aliases)
}

fn parse(value: &Value) -> Result<OwnedRoomAliasId, Stop> {
    let text = value.as_str().ok_or_else(|| invalid("an alias is not a string"))?;
    RoomAliasId::parse(text).map_err(|error| invalid(&format!("alias: {error}")))
}

fn invalid(message: &str) -> Stop {
    Stop::Refuse(ErrorReason::InvalidParam, message.to_owned())
}
