//! Account data and filters.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{AccountDataChanged, SetAccountData, SetFilter, output_user_event::Fact},
};
use ruma::RoomId;

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    json::Bounded,
    push_rules::PUSH_RULES,
    state::{AccountData, Change},
};

/// Most bytes of one piece of account data: it has to fit into a record of the output log.
const MAX_CONTENT_BYTES: usize = 240 * 1024;
/// Most bytes of all account data of a user: readers get it in one message.
const MAX_TOTAL_BYTES: u64 = 3 * 1024 * 1024;
/// Most pieces of account data of a user.
const MAX_PIECES: usize = 10_000;
/// Most bytes of a filter.
const MAX_FILTER_BYTES: usize = 64 * 1024;
/// Most filters of a user.
const MAX_FILTERS: usize = 1_000;

/// Sets account data, global or of a room.
pub(super) fn set_account_data(work: &mut Work<'_>, command: &SetAccountData) -> Result<(), Stop> {
    work.active_account()?;
    let SetAccountData { room_id, r#type: data_type, content, position, replaces } = command;
    if room_id.is_empty() && data_type == PUSH_RULES {
        return refuse(ErrorReason::InvalidParam, "push rules are not set as account data");
    }
    if let Some(replaces) = replaces {
        let current = work.user.contents.get(&(room_id.clone(), data_type.clone()));
        if current.map_or(&[][..], AsRef::as_ref) != replaces.as_ref() {
            return refuse(ErrorReason::BadState, "the account data has changed meanwhile");
        }
    }
    let known = work.user.positions.get(&(room_id.clone(), data_type.clone()));
    if let (Some(position), Some(known)) = (position, known)
        && position <= known
    {
        return Ok(());
    }
    put(work, room_id, data_type, content.clone(), *position)
}

/// Sets account data, whoever's idea it is.
pub(super) fn set(work: &mut Work<'_>, room_id: &str, data_type: &str, content: Bytes) -> Result<(), Stop> {
    put(work, room_id, data_type, content, None)
}

fn put(
    work: &mut Work<'_>,
    room_id: &str,
    data_type: &str,
    content: Bytes,
    position: Option<i64>,
) -> Result<(), Stop> {
    if !room_id.is_empty() && RoomId::parse(room_id).is_err() {
        return refuse(ErrorReason::InvalidParam, "room_id is not a room ID");
    }
    if data_type.is_empty() {
        return refuse(ErrorReason::InvalidParam, "the type is empty");
    }
    check_name("the type", data_type, MAX_NAME_BYTES)?;
    check_object("account data", &content, MAX_CONTENT_BYTES)?;
    let key = (room_id.to_owned(), data_type.to_owned());
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let others: u64 = work.user.account_data.iter().filter(|(other, _)| **other != key).map(|(_, n)| n).sum();
    let is_new = !work.user.account_data.contains_key(&key);
    if others.saturating_add(size) > MAX_TOTAL_BYTES || (is_new && work.user.account_data.len() >= MAX_PIECES)
    {
        return refuse(ErrorReason::LimitExceeded, "the user has too much account data");
    }
    work.user.account_data.insert(key.clone(), size);
    match position {
        Some(position) => work.user.positions.insert(key.clone(), position),
        None => work.user.positions.remove(&key),
    };
    work.user.contents.insert(key.clone(), content.clone());
    // The record of an earlier command of the batch is not out yet: it tells this value instead.
    let seq = match work.user.told.get(&key) {
        Some(told) => {
            let told = *told;
            work.amend(told, content.clone());
            told
        }
        None => {
            let seq = work.put_out(Fact::AccountDataChanged(AccountDataChanged {
                room_id: room_id.to_owned(),
                r#type: data_type.to_owned(),
                content: content.clone(),
            }));
            work.user.told.insert(key, seq);
            seq
        }
    };
    let value = Some(AccountData { content, seq, position });
    work.changes.push(Change::AccountData(room_id.to_owned(), data_type.to_owned(), value));
    Ok(())
}

/// Stores a filter. Its ID is derived from its content, so that a repeat changes nothing.
pub(super) fn set_filter(work: &mut Work<'_>, command: &SetFilter) -> Result<(), Stop> {
    work.active_account()?;
    let SetFilter { filter_id, filter } = command;
    if filter_id.is_empty() {
        return refuse(ErrorReason::InvalidParam, "filter_id is empty");
    }
    check_name("filter_id", filter_id, MAX_NAME_BYTES)?;
    check_object("the filter", filter, MAX_FILTER_BYTES)?;
    if work.user.filters.contains(filter_id) {
        return Ok(());
    }
    if work.user.filters.len() >= MAX_FILTERS {
        return refuse(ErrorReason::LimitExceeded, format!("a user has at most {MAX_FILTERS} filters"));
    }
    work.user.filters.insert(filter_id.clone());
    work.changes.push(Change::Filter(filter_id.clone(), filter.clone()));
    Ok(())
}

pub(super) fn check_object(what: &str, json: &[u8], max_bytes: usize) -> Result<(), Stop> {
    if json.len() > max_bytes {
        return refuse(ErrorReason::TooLarge, format!("{what} exceeds {max_bytes} bytes"));
    }
    if serde_json::from_slice::<BTreeMap<String, Bounded>>(json).is_err() {
        return refuse(ErrorReason::BadJson, format!("{what} is not a JSON object"));
    }
    Ok(())
}
