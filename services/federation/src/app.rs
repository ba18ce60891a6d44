//! Everything is constructed here, once, in the order in which it depends on each other.

use std::sync::Arc;

use ::http::HeaderValue;
use anyhow::Context as _;
use axum::Router;
use plexus_events::{SigningKey, key_file};
use plexus_input::{Connect, InputWriter};
use plexus_log::Log;
use plexus_matrix_http::Edge;
use plexus_outbound::Dialer;
use plexus_s2s::{
    KeyRing, Peers,
    keys::{BannedKeys, KeyRingDeps},
    name::parse_server_name,
    now_ms,
    request::Identity,
};
use plexus_service::{Config, RpcChannel, Shutdown, http, telemetry::VERSION};
use ruma::{OwnedServerName, ServerName};

use crate::{
    blocks::{self, Blocks},
    fetcher::{self, Backfills, Fetches},
    joins::{self, Joins},
    key_store::RpcKeyStore,
    metrics, outbound,
    own_keys::OwnKeys,
    queries::Answers,
    receiver::{Quotas, Transactions},
    routes,
    sender::{self, Contacts},
};

/// What the service is made of.
pub struct Deps {
    /// The configuration.
    pub config: Arc<Config>,
    /// The logs.
    pub log: Log,
    /// The room server.
    pub rooms: RpcChannel,
    /// How the owners of partitions are reached.
    pub connect: Connect,
    /// What stands before the handlers.
    pub edge: Edge,
    /// The media service.
    pub media: RpcChannel,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Federation {
    pub(crate) config: Arc<Config>,
    pub(crate) log: Log,
    pub(crate) input: InputWriter,
    pub(crate) rooms: RpcChannel,
    pub(crate) edge: Edge,
    pub(crate) media: RpcChannel,
    pub(crate) name: OwnedServerName,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) own_keys: Arc<OwnKeys>,
    pub(crate) keys: KeyRing,
    pub(crate) peers: Peers,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) fetches: Fetches,
    pub(crate) backfills: Backfills,
    pub(crate) contacts: Contacts,
    pub(crate) joins: Joins,
    pub(crate) answers: Answers,
    pub(crate) blocks: Blocks,
}

impl Federation {
    /// Makes the service. It asks nobody anything until somebody asks it.
    pub fn new(deps: Deps) -> anyhow::Result<Self> {
        metrics::describe();
        let Deps { config, log, rooms, connect, edge, media } = deps;
        let (outbound, federation) = (&config.outbound, &config.federation);
        let name = parse_server_name(&config.server.name).context("`name` in [server]")?;
        let key =
            key_file::load_or_create(&config.server.signing_key).context("`signing_key` in [server]")?;
        let own_keys = OwnKeys::new(name.clone(), key.clone(), federation)?;

        let dialer = Dialer::configured(
            &outbound.denied_ranges,
            &outbound.allowed_ranges,
            &outbound.dns_servers,
            &outbound.ca_files,
        )?;
        let agent = HeaderValue::try_from(format!("Plexus/{VERSION}"))?;
        let key = Arc::new(key);
        let identity = Identity { name: name.clone(), key: Arc::clone(&key), agent };
        let peers = Peers::dialing(identity, dialer, federation.connections);

        let notaries = federation.notaries.iter().map(|notary| parse_server_name(notary));
        let keys = KeyRing::new(KeyRingDeps {
            store: Arc::new(RpcKeyStore::new(rooms.clone())),
            source: Arc::new(peers.clone()),
            notaries: notaries.collect::<Result<_, _>>().context("`notaries` in [federation]")?,
            banned: BannedKeys::parse(&federation.banned_keys).context("`banned_keys` in [federation]")?,
            own: own_keys.as_server_keys(),
            clock: now_ms,
        });
        let quotas = Arc::new(Quotas::new(federation.origin_rate));
        Ok(Self {
            input: InputWriter::new(log.clone(), rooms.clone(), connect),
            config,
            log,
            rooms,
            edge,
            media,
            name,
            own_keys: Arc::new(own_keys),
            keys,
            peers,
            quotas,
            transactions: Arc::new(Transactions::new()),
            fetches: Fetches::default(),
            backfills: Backfills::default(),
            contacts: Contacts::new(),
            joins: Joins::default(),
            answers: Answers::new(),
            blocks: Blocks::default(),
            key,
        })
    }

    /// Our server name.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// Requests to other servers.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// All routes of the server-server API, with the layers of a listener around them.
    pub fn router(&self) -> Router {
        plexus_matrix_http::apply_server_layers(routes::routes(self))
    }

    /// The routes that clients' listeners have, too: versions and keys.
    pub fn open_routes(&self) -> Router {
        routes::open_routes(self)
    }

    /// What other services ask of other servers, as gRPC ([`plexus_proto::FEDERATION_SERVICES`]).
    #[must_use]
    pub fn rpc_routes(&self) -> tonic::service::Routes {
        outbound::routes(self)
    }

    /// Serves the API where other servers connect, fetches what events lack that they send, sends them ours, and goes on
    /// with what was left half done.
    pub async fn serve(&self, shutdown: &Shutdown) -> Result<std::net::SocketAddr, http::ServeError> {
        shutdown.spawn(blocks::run(self.clone(), shutdown.clone()));
        shutdown.spawn(fetcher::run(self.clone(), shutdown.clone()));
        sender::start(self, self.log.clone(), shutdown);
        shutdown.spawn(joins::resume::run(self.clone(), shutdown.clone()));
        let listener = &self.config.federation.listen;
        http::serve_clients("federation", listener, &self.config.http, self.router(), shutdown).await
    }
}
