//! Keys of other servers, kept by the room server.

use std::time::Duration;

use async_trait::async_trait;
use plexus_proto::room::v1::{
    self as room, GetServerKeysRequest, PutServerKeysRequest, key_store_service_client::KeyStoreServiceClient,
};
use plexus_s2s::{
    KeyStore, ServerKeys,
    keys::{Key, StoreError},
    name::parse_server_name,
};
use plexus_service::RpcChannel;
use ruma::OwnedServerName;
use tonic::{Request, Status};
use tracing::error;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The store behind `KeyStoreService`.
pub(crate) struct RpcKeyStore {
    client: KeyStoreServiceClient<RpcChannel>,
}

impl RpcKeyStore {
    pub(crate) fn new(rooms: RpcChannel) -> Self {
        // The responses of a thousand servers may be as long as they may be.
        Self { client: KeyStoreServiceClient::new(rooms).max_decoding_message_size(128 << 20) }
    }
}

#[async_trait]
impl KeyStore for RpcKeyStore {
    async fn load(&self, servers: &[OwnedServerName]) -> Result<Vec<ServerKeys>, StoreError> {
        let server_names = servers.iter().map(ToString::to_string).collect();
        let mut request = Request::new(GetServerKeysRequest { server_names });
        request.set_timeout(DEADLINE);
        let answer = self.client.clone().get_server_keys(request).await.map_err(failed)?;
        Ok(answer.into_inner().servers.into_iter().filter_map(decode).collect())
    }

    async fn save(&self, keys: &[ServerKeys]) -> Result<(), StoreError> {
        let mut request = Request::new(PutServerKeysRequest { servers: keys.iter().map(encode).collect() });
        request.set_timeout(DEADLINE);
        let answer = self.client.clone().put_server_keys(request).await.map_err(failed)?;
        for conflict in answer.into_inner().conflicts {
            error!(
                server = conflict.server_name,
                key_id = conflict.key_id,
                "a kept key was told differently"
            );
        }
        Ok(())
    }
}

fn failed(status: Status) -> StoreError {
    StoreError(status.to_string())
}

fn encode(keys: &ServerKeys) -> room::ServerKeys {
    let key = |(id, key): (&String, &Key)| room::ServerKey {
        key_id: id.clone(),
        public_key: key.public.to_vec().into(),
        valid_until_ts: key.valid_until_ts,
        expired_ts: key.expired_ts,
        fetched_ts: key.fetched_ts,
        direct: key.is_direct,
    };
    room::ServerKeys {
        server_name: keys.server.to_string(),
        keys: keys.keys.iter().map(key).collect(),
        response: keys.response.clone(),
        valid_until_ts: keys.valid_until_ts,
        fetched_ts: keys.fetched_ts,
    }
}

fn decode(kept: room::ServerKeys) -> Option<ServerKeys> {
    let key = |key: room::ServerKey| {
        let decoded = Key {
            public: key.public_key.as_ref().try_into().ok()?,
            valid_until_ts: key.valid_until_ts,
            expired_ts: key.expired_ts,
            fetched_ts: key.fetched_ts,
            is_direct: key.direct,
        };
        Some((key.key_id, decoded))
    };
    Some(ServerKeys {
        server: parse_server_name(&kept.server_name).ok()?,
        keys: kept.keys.into_iter().filter_map(key).collect(),
        response: kept.response,
        valid_until_ts: kept.valid_until_ts,
        fetched_ts: kept.fetched_ts,
    })
}
