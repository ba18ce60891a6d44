//! `KeyQueryService`: reads keys, and tells whose a viewer has to know.

use std::collections::HashMap;

use bytes::Bytes;
use plexus_log::{PARTITIONS, partition_of};
use plexus_proto::{
    log::v1::KeyCounts,
    user::v1::{
        DeviceKeys, GetKeyCountsRequest, GetKeyCountsResponse, KeySignature, ListDeviceListChangesRequest,
        ListDeviceListChangesResponse, ListRoomMatesRequest, ListRoomMatesResponse, QueryKeysRequest,
        QueryKeysResponse, UserKeys, WantedKeys,
        key_query_service_server::{KeyQueryService, KeyQueryServiceServer},
    },
};
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{self, failed, invalid, position};
use crate::{
    app::App,
    store::{StoreError, generation, pool, reads},
    users::{MASTER, SELF_SIGNING, USER_SIGNING},
};

/// Most users, and devices of one, whose keys are asked for at once.
const USERS: usize = 250;
const DEVICES: usize = 1000;
/// Most users who are looked for among room mates.
const MATES: usize = 1000;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> KeyQueryServiceServer<impl KeyQueryService> {
    KeyQueryServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl KeyQueryService for Service {
    #[instrument(name = "rpc.keys.query_keys", skip_all)]
    async fn query_keys(
        &self,
        request: Request<QueryKeysRequest>,
    ) -> Result<Response<QueryKeysResponse>, Status> {
        let QueryKeysRequest { viewer, users } = request.into_inner();
        if !viewer.is_empty() {
            super::users::user(&viewer)?;
        }
        check::at_most("users", users.len(), USERS)?;
        for WantedKeys { user_id, device_ids } in &users {
            super::users::user(user_id)?;
            check::at_most("device_ids", device_ids.len(), DEVICES)?;
            device_ids.iter().try_for_each(|device_id| check::storable("device_ids", device_id))?;
        }
        let users = query(&self.app, &viewer, &users).await.map_err(|error| failed(&error))?;
        Ok(Response::new(QueryKeysResponse { users }))
    }

    #[instrument(name = "rpc.keys.list_room_mates", skip_all)]
    async fn list_room_mates(
        &self,
        request: Request<ListRoomMatesRequest>,
    ) -> Result<Response<ListRoomMatesResponse>, Status> {
        let ListRoomMatesRequest { user_ids } = request.into_inner();
        check::at_most("user_ids", user_ids.len(), MATES)?;
        user_ids.iter().try_for_each(|user_id| super::users::user(user_id))?;
        let found = async {
            let conn = pool::get(&self.app.pool).await?;
            reads::outgoing_edus::list_room_mates(&conn, &user_ids, &self.app.config.server.name).await
        };
        let found = found.await.map_err(|error| failed(&error))?;
        Ok(Response::new(ListRoomMatesResponse { user_ids: found.into_iter().map(|row| row.0).collect() }))
    }

    #[instrument(name = "rpc.keys.get_key_counts", skip_all, fields(user.id = %request.get_ref().user_id))]
    async fn get_key_counts(
        &self,
        request: Request<GetKeyCountsRequest>,
    ) -> Result<Response<GetKeyCountsResponse>, Status> {
        let GetKeyCountsRequest { user_id, device_id } = request.into_inner();
        super::users::user(&user_id)?;
        check::storable("device_id", &device_id)?;
        let devices = counts(&self.app, &user_id, &device_id).await.map_err(|error| failed(&error))?;
        Ok(Response::new(GetKeyCountsResponse { devices }))
    }

    #[instrument(name = "rpc.keys.list_device_list_changes", skip_all, fields(user.id = %request.get_ref().viewer))]
    async fn list_device_list_changes(
        &self,
        request: Request<ListDeviceListChangesRequest>,
    ) -> Result<Response<ListDeviceListChangesResponse>, Status> {
        let request = request.into_inner();
        super::users::user(&request.viewer)?;
        let partitions = usize::try_from(PARTITIONS).unwrap_or_default();
        if request.from_rooms.len() != partitions || request.from_users.len() != partitions {
            return Err(invalid("from_rooms", "a position for each partition is needed"));
        }
        if !request.to_users.is_empty() && request.to_users.len() != partitions {
            return Err(invalid("to_users", "a position for each partition is needed"));
        }
        let rows = changes(&self.app, request).await.map_err(|error| failed(&error))?;
        let mut response = ListDeviceListChangesResponse::default();
        for (user_id, changed) in rows {
            if changed { response.changed.push(user_id) } else { response.left.push(user_id) }
        }
        Ok(Response::new(response))
    }
}

pub(super) async fn query(
    app: &App,
    viewer: &str,
    wanted: &[WantedKeys],
) -> Result<Vec<UserKeys>, StoreError> {
    let ids: Vec<String> = wanted.iter().map(|user| user.user_id.clone()).collect();
    let whole = wanted.iter().filter(|user| user.device_ids.is_empty());
    let whole: Vec<String> = whole.map(|user| user.user_id.clone()).collect();
    let (device_users, device_ids): (Vec<String>, Vec<String>) = wanted
        .iter()
        .flat_map(|user| user.device_ids.iter().map(|device| (user.user_id.clone(), device.clone())))
        .unzip();
    let conn = pool::get(&app.pool).await?;
    let (devices, cross_signing, signatures, versions) = futures::try_join!(
        reads::keys::list_device_keys(&conn, &whole, &device_users, &device_ids),
        reads::keys::list_cross_signing_keys(&conn, &ids),
        reads::keys::list_signatures(&conn, viewer, &ids),
        reads::outgoing_edus::list_versions(&conn, &ids),
    )?;
    drop(conn);
    let mut users: HashMap<String, UserKeys> = HashMap::new();
    let user = |user_id: String| UserKeys { user_id, ..UserKeys::default() };
    for row in devices {
        let keys = users.entry(row.user_id.clone()).or_insert_with(|| user(row.user_id));
        keys.devices.push(DeviceKeys {
            device_id: row.device_id,
            keys: Bytes::from(row.keys),
            display_name: row.display_name,
        });
    }
    for (user_id, usage, key) in cross_signing {
        let is_own = user_id == viewer;
        let keys = users.entry(user_id.clone()).or_insert_with(|| user(user_id));
        match usage.as_str() {
            MASTER => keys.master_key = Bytes::from(key),
            SELF_SIGNING => keys.self_signing_key = Bytes::from(key),
            USER_SIGNING if is_own => keys.user_signing_key = Bytes::from(key),
            _ => {}
        }
    }
    for row in signatures {
        // The key may be one that another server has to tell.
        let target = row.target_user_id;
        let keys = users.entry(target.clone()).or_insert_with(|| user(target));
        keys.signatures.push(KeySignature {
            key: row.target_key,
            signer_user_id: row.signer_user_id,
            signer_key_id: row.signer_key_id,
            signature: row.signature,
        });
    }
    for (user_id, version) in versions {
        users.entry(user_id.clone()).or_insert_with(|| user(user_id)).stream_id = check::unsigned(version);
    }
    Ok(users.into_values().collect())
}

async fn counts(app: &App, user_id: &str, device_id: &str) -> Result<HashMap<String, KeyCounts>, StoreError> {
    let conn = pool::get(&app.pool).await?;
    let (counts, unused) = futures::try_join!(
        reads::keys::count_one_time_keys(&conn, user_id, device_id),
        reads::keys::list_unused_fallback_keys(&conn, user_id, device_id),
    )?;
    let mut devices: HashMap<String, KeyCounts> = HashMap::new();
    for (device, algorithm, count) in counts {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        devices.entry(device).or_default().one_time_keys.insert(algorithm, count);
    }
    for (device, algorithm) in unused {
        devices.entry(device).or_default().unused_fallback_keys.push(algorithm);
    }
    Ok(devices)
}

async fn changes(
    app: &App,
    request: ListDeviceListChangesRequest,
) -> Result<Vec<(String, bool)>, StoreError> {
    let ListDeviceListChangesRequest { viewer, from_rooms, from_users, generation, to_users } = request;
    let positions = |positions: Vec<u64>| positions.into_iter().map(position).collect::<Vec<i64>>();
    let (mut from_rooms, mut from_users) = (positions(from_rooms), positions(from_users));
    if generation > 0 && position(generation) != generation::get(&mut *pool::get(&app.pool).await?).await? {
        // These positions are of other records.
        from_rooms.fill(0);
        from_users.fill(0);
    }
    // From the beginning on everybody in the viewer's rooms has changed: that costs as much as a search.
    let is_search = !to_users.is_empty() || from_rooms.iter().all(|position| *position == 0);
    let conn = pool::get(if is_search { &app.search_pool } else { &app.pool }).await?;
    let own = usize::try_from(partition_of(&viewer)).unwrap_or_default();
    let from_own = from_users.get(own).copied().unwrap_or_default();
    let plain_members = i32::try_from(app.config.roomserver.plain_room_device_lists).unwrap_or(i32::MAX);
    reads::keys::list_device_list_changes(
        &conn,
        &viewer,
        &from_rooms,
        &from_users,
        &positions(to_users),
        &from_own,
        &plain_members,
    )
    .await
}
