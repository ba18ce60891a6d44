//! `DestinationService`: what is sent to other servers that is not of rooms.

use std::collections::HashMap;

use plexus_proto::{
    room::v1::{
        AckOutgoingEdusRequest, AckOutgoingEdusResponse, DeviceListChange, ListOutgoingEdusRequest,
        ListOutgoingEdusResponse, ListWaitingServersRequest, ListWaitingServersResponse, OutgoingKeys,
        OutgoingToDevice,
    },
    user::v1::{UserKeys, WantedKeys},
};
use tonic::Status;

use crate::{
    app::App,
    rpc::{
        check::{at_most, failed, invalid, name, position, storable, unsigned},
        keys,
    },
    store::{
        StoreError, outgoing_edus, pool,
        reads::outgoing_edus::{self as reads, ListRow},
    },
};

/// Servers of a page, and most messages and users of an answer.
const SERVERS: i64 = 1_000;
const EDUS: u32 = 50;
/// Most changes of a user that a server is told one by one.
const CHANGES: usize = 20;

pub(super) async fn waiting(
    app: &App,
    request: ListWaitingServersRequest,
) -> Result<ListWaitingServersResponse, Status> {
    storable("after", &request.after)?;
    let conn = pool::get(&app.pool).await.map_err(|error| failed(&error))?;
    let rows = reads::list_waiting(&conn, &request.after, &SERVERS).await.map_err(|error| failed(&error))?;
    let more = i64::try_from(rows.len()).is_ok_and(|rows| rows >= SERVERS);
    Ok(ListWaitingServersResponse { servers: rows.into_iter().map(|row| row.0).collect(), more })
}

pub(super) async fn list(
    app: &App,
    request: ListOutgoingEdusRequest,
) -> Result<ListOutgoingEdusResponse, Status> {
    let ListOutgoingEdusRequest { server, limit } = request;
    name("server", &server)?;
    if !(1..=EDUS).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {EDUS}")));
    }
    read(app, &server, i64::from(limit)).await.map_err(|error| failed(&error))
}

async fn read(app: &App, server: &str, limit: i64) -> Result<ListOutgoingEdusResponse, StoreError> {
    let mut conn = pool::get(&app.pool).await?;
    let expired = outgoing_edus::expire(&mut conn, server).await?;
    if expired > 0 {
        tracing::warn!(server, messages = expired, "messages to devices have waited too long for a server");
    }
    let messages = reads::list_to_device(&conn, server, &limit).await?;
    let left = limit - i64::try_from(messages.len()).unwrap_or(limit);
    let users = if left > 0 { reads::list_users(&conn, server, &left).await? } else { Vec::new() };
    let ids: Vec<String> = users.iter().map(|row| row.user_id.clone()).collect();
    let after: Vec<i64> = users.iter().map(|row| row.sent_stream_id).collect();
    let upto: Vec<i64> = users.iter().map(|row| row.stream_id).collect();
    // One more tells that there are more.
    let most = i64::try_from(CHANGES + 1).unwrap_or(i64::MAX);
    let rows = if ids.is_empty() {
        Vec::new()
    } else {
        reads::list_changes(&conn, &ids, &after, &upto, &most).await?
    };
    drop(conn);
    let mut changes: HashMap<String, Vec<DeviceListChange>> = HashMap::new();
    for (user_id, device_id, stream_id, deleted) in rows {
        let change = DeviceListChange { device_id, stream_id: unsigned(stream_id), deleted };
        changes.entry(user_id).or_default().push(change);
    }
    let wanted: Vec<WantedKeys> = users
        .iter()
        .map(|row| {
            // Of no device but those that have changed; an empty list would mean all.
            let devices = changes.get(&row.user_id).into_iter().flatten();
            let device_ids: Vec<String> = devices.map(|change| change.device_id.clone()).collect();
            let device_ids = if device_ids.is_empty() { vec![String::new()] } else { device_ids };
            WantedKeys { user_id: row.user_id.clone(), device_ids }
        })
        .collect();
    let mut known: HashMap<String, UserKeys> = HashMap::new();
    if !wanted.is_empty() {
        let found = keys::query(app, "", &wanted).await?;
        known.extend(found.into_iter().map(|user| (user.user_id.clone(), user)));
    }
    let more = i64::try_from(messages.len() + users.len()).is_ok_and(|count| count >= limit);
    let keys = users
        .into_iter()
        .map(|row| {
            let changes = changes.remove(&row.user_id).unwrap_or_default();
            outgoing(row, changes, &mut known)
        })
        .collect();
    let to_device = messages
        .into_iter()
        .map(|(number, content)| OutgoingToDevice { number: unsigned(number), content: content.into() })
        .collect();
    Ok(ListOutgoingEdusResponse { to_device, keys, more })
}

fn outgoing(
    row: ListRow,
    mut changes: Vec<DeviceListChange>,
    known: &mut HashMap<String, UserKeys>,
) -> OutgoingKeys {
    let mut previous = unsigned(row.sent_stream_id);
    if changes.len() > CHANGES {
        // Whoever lacks so many looks at the whole list.
        changes = changes.split_off(changes.len() - 1);
        previous = 0;
    }
    let nothing = || UserKeys { user_id: row.user_id.clone(), ..UserKeys::default() };
    let mut user = known.remove(&row.user_id).unwrap_or_else(nothing);
    user.stream_id = unsigned(row.stream_id);
    OutgoingKeys {
        user: Some(user),
        changes,
        previous_stream_id: previous,
        signing_keys: row.keys_seq > row.sent_keys_seq,
        keys_seq: unsigned(row.keys_seq),
    }
}

pub(super) async fn acknowledge(
    app: &App,
    request: AckOutgoingEdusRequest,
) -> Result<AckOutgoingEdusResponse, Status> {
    let AckOutgoingEdusRequest { server, to_device, keys, all } = request;
    name("server", &server)?;
    at_most("to_device", to_device.len(), 1_000)?;
    at_most("keys", keys.len(), 1_000)?;
    keys.iter().try_for_each(|taken| storable("keys", &taken.user_id))?;
    let numbers: Vec<i64> = to_device.into_iter().map(position).collect();
    let stream_ids: Vec<i64> = keys.iter().map(|taken| position(taken.stream_id)).collect();
    let keys_seqs: Vec<i64> = keys.iter().map(|taken| position(taken.keys_seq)).collect();
    let users: Vec<String> = keys.into_iter().map(|taken| taken.user_id).collect();
    let done = async {
        let mut conn = pool::get(&app.pool).await?;
        if all {
            return outgoing_edus::give_up(&mut conn, &server).await;
        }
        if !numbers.is_empty() {
            outgoing_edus::take_messages(&mut conn, &server, &numbers).await?;
        }
        if !users.is_empty() {
            outgoing_edus::take_lists(&mut conn, &server, &users, &stream_ids, &keys_seqs).await?;
        }
        Ok(())
    };
    done.await.map_err(|error: StoreError| failed(&error))?;
    Ok(AckOutgoingEdusResponse {})
}
