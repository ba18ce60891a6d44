//! Everything is constructed here, once, in dependency order.

use std::sync::Arc;

use plexus_events::RoomRules;
use plexus_input::{Connect, InputWriter};
use plexus_log::Log;
use plexus_matrix_http::{Edge, RateLimiter};
use plexus_proto::federation::v1::outbound_service_client::OutboundServiceClient;
use plexus_proto::user::v1::{
    backup_service_client::BackupServiceClient, credential_service_client::CredentialServiceClient,
    key_query_service_client::KeyQueryServiceClient, user_query_service_client::UserQueryServiceClient,
};
use plexus_service::{Config, RpcChannel};
use ruma::{OwnedServerName, RoomVersionId, ServerName};

use crate::{
    nonces::Nonces,
    passwords::{PasswordError, Passwords},
    rooms::Rooms,
    uia::Sessions,
};

/// Most bytes that other servers answer to one question.
const MAX_REMOTE_ANSWER: usize = 64 << 20;

/// What the client-server API is made of.
#[derive(Clone)]
pub struct AppDeps {
    /// The configuration.
    pub config: Arc<Config>,
    /// The event logs.
    pub log: Log,
    /// The room server's queries about rooms, and its verdicts.
    pub rooms: RpcChannel,
    /// The room server's queries about users.
    pub users: RpcChannel,
    /// The federation service; `None` if this server talks with no others.
    pub federation: Option<RpcChannel>,
    /// Whose requests they are, and what they may hold; one for all services of the process.
    pub edge: Edge,
    /// How the owners of partitions are reached, for verdicts.
    pub connect: Connect,
}

/// Why there is no client-server API.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// `server.name` is not a server name.
    #[error("`server.name` is not a valid server name")]
    ServerName(#[source] ruma::IdParseError),
    /// `server.default_room_version` is not one that new rooms may have.
    #[error("`server.default_room_version` {0} is not one that is served: use 3 to 12")]
    RoomVersion(String),
    /// The cost of hashing passwords does not work.
    #[error("`auth.argon2_memory_kib` and `auth.argon2_iterations` do not work")]
    Passwords(#[source] PasswordError),
}

/// Handles on everything that handlers use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) server_name: OwnedServerName,
    pub(crate) log: Log,
    pub(crate) input: InputWriter,
    pub(crate) rooms: Rooms,
    pub(crate) users: UserQueryServiceClient<RpcChannel>,
    pub(crate) credentials: CredentialServiceClient<RpcChannel>,
    pub(crate) backups: BackupServiceClient<RpcChannel>,
    pub(crate) keys: KeyQueryServiceClient<RpcChannel>,
    /// Other servers; `None` if there are none.
    pub(crate) outbound: Option<OutboundServiceClient<RpcChannel>>,
    pub(crate) edge: Edge,
    pub(crate) limits: RateLimiter,
    pub(crate) passwords: Passwords,
    pub(crate) interactive: Sessions,
    pub(crate) nonces: Nonces,
}

impl App {
    /// Builds it all.
    pub fn new(deps: AppDeps) -> Result<Self, AppError> {
        let AppDeps { config, log, rooms, users, federation, edge, connect } = deps;
        let server_name = ServerName::parse(&config.server.name).map_err(AppError::ServerName)?;
        let default_version = default_room_version(&config.server.default_room_version)?;
        let input = InputWriter::new(log.clone(), rooms.clone(), connect);
        let outbound = federation
            .clone()
            .map(|channel| OutboundServiceClient::new(channel).max_decoding_message_size(MAX_REMOTE_ANSWER));
        let passwords = Passwords::new(&config.auth).map_err(AppError::Passwords)?;
        Ok(Self {
            rooms: Rooms::new(
                server_name.clone(),
                default_version,
                input.clone(),
                (rooms, users.clone(), federation),
            ),
            server_name,
            log,
            input,
            credentials: CredentialServiceClient::new(users.clone()),
            backups: BackupServiceClient::new(users.clone()),
            keys: KeyQueryServiceClient::new(users.clone()),
            users: UserQueryServiceClient::new(users),
            outbound,
            limits: edge.limits().clone(),
            edge,
            passwords,
            interactive: Sessions::new(),
            nonces: Nonces::new(config.registration.shared_secret.as_bytes()),
            config,
        })
    }
}

fn default_room_version(version: &str) -> Result<RoomVersionId, AppError> {
    let served = RoomRules::of(version).map_err(|_| AppError::RoomVersion(version.to_owned()))?;
    Ok(served.id.clone())
}
