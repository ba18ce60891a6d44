//! `KeyStoreService`: keys of other servers, kept for ever.

use std::collections::BTreeMap;

use plexus_proto::room::v1::{
    GetServerKeysRequest, GetServerKeysResponse, PutServerKeysRequest, PutServerKeysResponse, ServerKey,
    ServerKeyConflict, ServerKeys,
    key_store_service_server::{KeyStoreService, KeyStoreServiceServer},
};
use ruma::ServerName;
use tonic::{Request, Response, Status};
use tracing::instrument;

use super::check::{at_most, failed, invalid, name};
use crate::{
    app::App,
    store::{
        pool,
        server_keys::{self, Key},
    },
};

/// Most servers of one request to read, and to keep.
const MAX_READ: usize = 1000;
const MAX_KEPT: usize = 100;
/// Most keys of one server in a request.
const MAX_KEYS: usize = 256;
/// Most bytes of a response.
const MAX_RESPONSE: usize = 64 * 1024;
/// Latest time: what canonical JSON can tell.
const MAX_TS: i64 = 1 << 53;

struct Service {
    app: App,
}

/// Makes the service.
pub(super) fn service(app: &App) -> KeyStoreServiceServer<impl KeyStoreService> {
    KeyStoreServiceServer::new(Service { app: app.clone() })
}

#[tonic::async_trait]
impl KeyStoreService for Service {
    #[instrument(name = "rpc.key_store.get_server_keys", skip_all)]
    async fn get_server_keys(
        &self,
        request: Request<GetServerKeysRequest>,
    ) -> Result<Response<GetServerKeysResponse>, Status> {
        let GetServerKeysRequest { server_names } = request.into_inner();
        at_most("server_names", server_names.len(), MAX_READ)?;
        for server in &server_names {
            name("server_names", server)?;
        }
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let found = server_keys::find(&mut conn, &server_names).await;
        let (keys, responses) = found.map_err(|error| failed(&error))?;
        let mut servers: BTreeMap<String, ServerKeys> = BTreeMap::new();
        for Key { server_name, key_id, public_key, valid_until_ts, expired_ts, fetched_ts, direct } in keys {
            let public_key = public_key.into();
            let key = ServerKey { key_id, public_key, valid_until_ts, expired_ts, fetched_ts, direct };
            let server = servers.entry(server_name.clone()).or_default();
            server.server_name = server_name;
            server.keys.push(key);
        }
        for found in responses {
            if let Some(server) = servers.get_mut(&found.server_name) {
                server.response = found.response.into();
                server.valid_until_ts = found.valid_until_ts;
                server.fetched_ts = found.fetched_ts;
            }
        }
        Ok(Response::new(GetServerKeysResponse { servers: servers.into_values().collect() }))
    }

    #[instrument(name = "rpc.key_store.put_server_keys", skip_all)]
    async fn put_server_keys(
        &self,
        request: Request<PutServerKeysRequest>,
    ) -> Result<Response<PutServerKeysResponse>, Status> {
        let PutServerKeysRequest { servers } = request.into_inner();
        at_most("servers", servers.len(), MAX_KEPT)?;
        let (mut keys, mut responses) = (BTreeMap::new(), BTreeMap::new());
        for server in servers {
            check(&server)?;
            for key in server.keys {
                let id = (server.server_name.clone(), key.key_id.clone());
                if keys.insert(id, row(&server.server_name, key)?).is_some() {
                    return Err(invalid("keys", "a key is named twice"));
                }
            }
            if !server.response.is_empty() {
                let response = server_keys::Response {
                    server_name: server.server_name.clone(),
                    response: server.response.to_vec(),
                    valid_until_ts: time("valid_until_ts", server.valid_until_ts)?,
                    fetched_ts: time("fetched_ts", server.fetched_ts)?,
                };
                responses.insert(server.server_name, response);
            }
        }
        let mut conn = pool::get(&self.app.pool).await.map_err(|error| failed(&error))?;
        let (keys, responses) = (keys.into_values().collect(), responses.into_values().collect());
        let conflicts = server_keys::add(&mut conn, keys, responses).await.map_err(|error| failed(&error))?;
        let conflict = |found: server_keys::Conflict| ServerKeyConflict {
            server_name: found.server_name,
            key_id: found.key_id,
        };
        Ok(Response::new(PutServerKeysResponse { conflicts: conflicts.into_iter().map(conflict).collect() }))
    }
}

fn check(server: &ServerKeys) -> Result<(), Status> {
    <&ServerName>::try_from(server.server_name.as_str()).map_err(|error| invalid("server_name", error))?;
    name("server_name", &server.server_name)?;
    at_most("keys", server.keys.len(), MAX_KEYS)?;
    at_most("response", server.response.len(), MAX_RESPONSE)
}

fn row(server_name: &str, key: ServerKey) -> Result<Key, Status> {
    if key.key_id.is_empty() || key.public_key.len() != 32 {
        return Err(invalid("keys", "a key has no ID, or not 32 bytes"));
    }
    name("key_id", &key.key_id)?;
    Ok(Key {
        server_name: server_name.to_owned(),
        public_key: key.public_key.to_vec(),
        valid_until_ts: time("valid_until_ts", key.valid_until_ts)?,
        expired_ts: key.expired_ts.map(|ts| time("expired_ts", ts)).transpose()?,
        fetched_ts: time("fetched_ts", key.fetched_ts)?,
        direct: key.direct,
        key_id: key.key_id,
    })
}

fn time(field: &str, ts: i64) -> Result<i64, Status> {
    if (-MAX_TS..=MAX_TS).contains(&ts) { Ok(ts) } else { Err(invalid(field, "it is out of range")) }
}
