//! `plexus-admin federation …`: other servers, as this one finds them.
//!
//! It asks from where it runs, with the configuration and the key of the server: what works here works for the server
//! on the same machine.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use http::{HeaderValue, Method};
use plexus_events::key_file;
use plexus_outbound::Dialer;
use plexus_s2s::{
    Call, CallError, Class, Peers, Route,
    discover::Step,
    encoded,
    keys::{KeySource as _, response},
    name::parse_server_name,
    now_ms,
    request::Identity,
};
use plexus_service::{Config, RpcChannel, outln, telemetry::VERSION};
use ruma::ServerName;

use crate::{blocks, destinations, moment};

#[derive(Subcommand)]
pub(crate) enum FederationCommand {
    /// Looks for a server as this one would, and tells each step: delegation, addresses, TLS, keys, a signed request.
    Check {
        /// Server name.
        name: String,
    },
    /// Lists servers that fail, or have not taken everything they are to be sent.
    Destinations,
    /// Describes such a server, with the rooms in which it lacks events.
    Destination {
        /// Server name.
        name: String,
    },
    /// Tries such a server now rather than when its time comes.
    Retry {
        /// Server name.
        name: String,
    },
    /// Gives up what such a server has not taken by now.
    Forget {
        /// Server name.
        name: String,
    },
    /// Lists joins and leaves that are on their way to other servers.
    Sagas,
    /// Has nothing to do any more with a server, a user of one (`@user:server`), or a room (`!room`).
    Block {
        /// Server name, user ID or room ID.
        name: String,
        /// Why, for operators.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Lifts a block.
    Unblock {
        /// Server name, user ID or room ID.
        name: String,
    },
    /// Lists what is blocked.
    Blocks,
}

/// Runs a command.
pub(crate) async fn run(
    config: &Config,
    operator: impl FnOnce() -> anyhow::Result<RpcChannel>,
    command: FederationCommand,
) -> anyhow::Result<()> {
    match command {
        FederationCommand::Check { name } => check(config, &name).await,
        FederationCommand::Destinations => destinations::list(operator()?).await,
        FederationCommand::Destination { name } => destinations::show(operator()?, name).await,
        FederationCommand::Retry { name } => destinations::retry(operator()?, name).await,
        FederationCommand::Forget { name } => destinations::forget(operator()?, name).await,
        FederationCommand::Sagas => blocks::sagas(operator()?).await,
        FederationCommand::Block { name, reason } => blocks::block(operator()?, name, reason).await,
        FederationCommand::Unblock { name } => blocks::unblock(operator()?, name).await,
        FederationCommand::Blocks => blocks::list(operator()?).await,
    }
}

async fn check(config: &Config, name: &str) -> anyhow::Result<()> {
    let server = parse_server_name(name)?;
    let dialer = dialer(config)?;
    let peers = peers(config, &dialer)?;

    let discovery = peers.discovery();
    let delegate = discovery.delegate(&server).await?;
    if delegate.to_string().eq_ignore_ascii_case(server.as_str()) {
        outln!("delegation  none: {delegate} speaks for itself");
    } else {
        outln!("delegation  {delegate} speaks for {server}");
    }
    let route = discovery.resolve(&delegate).await.context("addresses")?;
    outln!("addresses   {}", told(&route));

    let mut reached = 0;
    for address in &route.addresses {
        let stream = match dialer.connect(&[*address]).await {
            Ok(stream) => stream,
            Err(error) => {
                outln!("  {address}  {:#}", anyhow::Error::from(error));
                continue;
            }
        };
        match dialer.secure(stream, &delegate.tls_name()).await {
            Ok((_, is_h2)) => {
                reached += 1;
                outln!("  {address}  TLS, {}", if is_h2 { "HTTP/2" } else { "HTTP/1.1" });
            }
            Err(error) => outln!("  {address}  {:#}", anyhow::Error::from(error)),
        }
    }
    ensure!(reached > 0, "no address answers with a certificate for {}", delegate.tls_name());

    let version = peers.call(call(&server, "/_matrix/federation/v1/version", false)).await.map_err(chain)?;
    outln!("version     {}", String::from_utf8_lossy(&version.body).trim());
    let body = peers.ask(&server).await?;
    let keys = response::read(&body, &server, now_ms(), true).context("its keys")?;
    for (id, key) in &keys.keys {
        match key.expired_ts {
            None => outln!("key         {id}, valid until {}", moment(key.valid_until_ts)),
            Some(expired) => outln!("key         {id}, old since {}", moment(expired)),
        }
    }
    ensure!(keys.valid_until_ts > now_ms(), "its keys are no longer valid; is its clock right, or ours?");
    signed(config, &peers, &server).await
}

/// A request that is refused as one of this server was understood and verified: there, our keys were found.
async fn signed(config: &Config, peers: &Peers, server: &ServerName) -> anyhow::Result<()> {
    if server.as_str() == config.server.name {
        outln!("signature   not tried: the server would ask itself");
        return Ok(());
    }
    let path =
        format!("/_matrix/federation/v1/query/profile?user_id=%40nobody%3A{}", encoded(server.as_str()));
    match peers.call(call(server, &path, true)).await {
        Ok(_) => outln!("signature   accepted"),
        Err(CallError::Refused(refusal)) if refusal.status.as_u16() == 401 => {
            bail!(
                "{server} does not accept our signature: {}; can it reach {}?",
                refusal.error,
                config.server.name
            )
        }
        Err(CallError::Refused(_)) => outln!("signature   accepted"),
        Err(error) => return Err(chain(error)),
    }
    Ok(())
}

fn call<'a>(destination: &'a ServerName, path: &'a str, is_signed: bool) -> Call<'a> {
    Call { destination, method: Method::GET, path, body: None, class: Class::QUERY, is_signed }
}

fn chain(error: CallError) -> anyhow::Error {
    anyhow::anyhow!(error.chain())
}

fn told(route: &Route) -> String {
    match &route.step {
        Step::Literal => "the name is one".to_owned(),
        Step::Port => "of the name, with its port".to_owned(),
        Step::Default => "of the name, port 8448".to_owned(),
        Step::Srv { record, targets } => {
            let targets: Vec<String> =
                targets.iter().map(|target| format!("{}:{}", target.target, target.port)).collect();
            format!("by {record}: {}", targets.join(", "))
        }
    }
}

fn dialer(config: &Config) -> anyhow::Result<Dialer> {
    let outbound = &config.outbound;
    Ok(Dialer::configured(
        &outbound.denied_ranges,
        &outbound.allowed_ranges,
        &outbound.dns_servers,
        &outbound.ca_files,
    )?)
}

fn peers(config: &Config, dialer: &Dialer) -> anyhow::Result<Peers> {
    let path = &config.server.signing_key;
    ensure!(path.exists(), "there is no signing key {}: has the server been started?", path.display());
    let agent = HeaderValue::try_from(format!("Plexus/{VERSION}"))?;
    let key = Arc::new(key_file::load_or_create(path)?);
    let identity = Identity { name: parse_server_name(&config.server.name)?, key, agent };
    Ok(Peers::dialing(identity, dialer.clone(), 16))
}
