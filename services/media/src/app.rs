//! Everything is constructed here, once, in dependency order.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ::http::HeaderValue;
use anyhow::Context as _;
use moka::sync::Cache;
use plexus_events::key_file;
use plexus_input::{Connect, InputWriter};
use plexus_log::Log;
use plexus_matrix_http::{Buckets, Edge};
use plexus_media_store::{S3Config, Store};
use plexus_outbound::{Dialer, Fetcher};
use plexus_s2s::{Peers, name::parse_server_name, now_ms, request::Identity};
use plexus_service::{Config, RpcChannel, Shutdown, config::MediaConfig, telemetry::VERSION};
use ruma::{OwnedServerName, UserId};

use crate::{
    evict, file_service,
    id::MediaUri,
    metrics,
    preview::Previews,
    remote::Remote,
    rows::{DAY_MS, Rows},
    sweep,
    thumbnail::Thumbnails,
    uploads::Uploads,
};

/// Media that is remembered to have been read today.
const TOUCHED: u64 = 100_000;

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
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Media {
    pub(crate) config: Arc<Config>,
    pub(crate) edge: Edge,
    pub(crate) name: OwnedServerName,
    pub(crate) store: Store,
    pub(crate) rows: Rows,
    pub(crate) uploads: Uploads,
    pub(crate) thumbnails: Thumbnails,
    pub(crate) remote: Option<Remote>,
    pub(crate) previews: Option<Previews>,
    touched: Cache<MediaUri, ()>,
}

impl Media {
    /// Makes the service, and opens the store.
    pub fn new(deps: Deps) -> anyhow::Result<Self> {
        metrics::describe();
        let Deps { config, log, rooms, connect, edge } = deps;
        let media = &config.media;
        let name = parse_server_name(&config.server.name).context("`name` in [server]")?;
        let store = open_store(media)?;
        let (mut remote, mut previews) = (None, None);
        if config.federation.enabled || media.url_previews {
            let outbound = &config.outbound;
            let dialer = Dialer::configured(
                &outbound.denied_ranges,
                &outbound.allowed_ranges,
                &outbound.dns_servers,
                &outbound.ca_files,
            )?;
            let agent = HeaderValue::try_from(format!("Plexus/{VERSION}"))?;
            let fetcher = Fetcher::new(dialer.clone(), agent.clone());
            if media.url_previews {
                previews = Some(Previews::new(fetcher.clone(), Buckets::new(media.preview_rate)));
            }
            if config.federation.enabled {
                let key = key_file::load_or_create(&config.server.signing_key)
                    .context("`signing_key` in [server]")?;
                let identity = Identity { name: name.clone(), key: Arc::new(key), agent };
                let peers = Peers::dialing(identity, dialer, config.federation.connections);
                remote = Some(Remote::new(peers, fetcher));
            }
        }
        Ok(Self {
            uploads: Uploads::new(media.uploads_per_user),
            thumbnails: Thumbnails::new(media),
            rows: Rows::new(rooms.clone(), InputWriter::new(log, rooms, connect)),
            remote,
            previews,
            store,
            edge,
            name,
            touched: Cache::builder().max_capacity(TOUCHED).time_to_live(Duration::from_secs(86_400)).build(),
            config,
        })
    }

    /// What other services read, as gRPC ([`plexus_proto::MEDIA_SERVICES`]).
    #[must_use]
    pub fn rpc_routes(&self) -> tonic::service::Routes {
        file_service::routes(self)
    }

    /// Removes what nobody names, and what of other servers there is too much, until shutdown.
    pub fn start(&self, shutdown: &Shutdown) {
        shutdown.spawn(sweep::run(self.clone(), shutdown.clone()));
        shutdown.spawn(evict::run(self.clone(), shutdown.clone()));
    }

    pub(crate) fn media_config(&self) -> &MediaConfig {
        &self.config.media
    }

    pub(crate) fn is_ours(&self, uri: &MediaUri) -> bool {
        uri.server_name == self.name
    }

    /// Notes that media was read: once a day, and without waiting.
    pub(crate) fn touch(&self, user_id: Option<&UserId>, uri: &MediaUri, accessed_ts: i64) {
        if accessed_ts / DAY_MS >= now_ms() / DAY_MS || self.touched.contains_key(uri) {
            return;
        }
        self.touched.insert(uri.clone(), ());
        let (rows, uri, user_id) = (self.rows.clone(), uri.clone(), user_id.map(ToOwned::to_owned));
        tokio::spawn(async move {
            if let Err(error) = rows.touch(user_id.as_deref(), &uri).await {
                tracing::debug!(%error, "that media was read is not noted");
            }
        });
    }
}

fn open_store(config: &MediaConfig) -> anyhow::Result<Store> {
    let s3 = &config.s3;
    if s3.bucket.is_empty() {
        return Ok(Store::folder(&config.folder)?);
    }
    let secret = match &s3.secret_access_key_file {
        None => s3.secret_access_key.clone(),
        Some(file) => first_line(file)?,
    };
    let config_of_bucket = S3Config {
        bucket: s3.bucket.clone(),
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: secret,
        virtual_hosted: s3.virtual_hosted,
        ca_files: s3.ca_files.clone(),
    };
    Ok(Store::s3(&config_of_bucket, config.folder.join("scratch"))?)
}

fn first_line(file: &PathBuf) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}, `secret_access_key_file` in [media.s3]", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
