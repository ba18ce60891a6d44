//! The two shapes of a server, each with a database and, if it needs one, a broker of its own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use plexus_log::{Log, kafka};
use plexus_service::{RpcChannel, Token};
use plexus_testkit::server::{Broker, Needs, Postgres, Services, Wires};

/// Prefix of the topics.
const TOPIC_PREFIX: &str = "test.";

/// How the services run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Everything in one process, with the in-process log.
    Standalone,
    /// Separate processes on Kafka, with so many room servers.
    Mesh(usize),
}

/// A server and what it stands on.
pub struct Stage {
    /// The services; dropped first.
    pub services: Services,
    /// The broker, in the mesh.
    pub broker: Option<Broker>,
    /// The database cluster.
    pub postgres: Postgres,
}

impl Stage {
    /// Starts a server in a shape.
    pub async fn start(shape: Shape) -> Result<Self> {
        let postgres = Postgres::start().await?;
        let database = postgres.database("plexus").await?;
        let topic_prefix = TOPIC_PREFIX.to_owned();
        let (broker, services) = match shape {
            Shape::Standalone => {
                let needs = Needs { database, brokers: String::new(), topic_prefix, wires: Wires::default() };
                (None, Services::standalone(&needs).await?)
            }
            Shape::Mesh(room_servers) => {
                let broker = Broker::start().await?;
                let needs = Needs {
                    database,
                    brokers: broker.address.clone(),
                    topic_prefix,
                    wires: Wires::default(),
                };
                let services = Services::mesh(&needs, room_servers).await?;
                (Some(broker), services)
            }
        };
        Ok(Self { services, broker, postgres })
    }

    /// A channel to a room server for what operators ask.
    pub fn operator(&self, index: usize) -> Result<RpcChannel> {
        let token = Token::new(&self.services.operator_token()?, "of a test")?;
        Ok(RpcChannel::connect(&self.services.operator(index)?)?.with_token(&token))
    }

    /// Opens the logs of a mesh, as a service beside it would.
    pub async fn log(&self) -> Result<Log> {
        let broker = self.broker.as_ref().context("only a mesh has a broker")?;
        let config = kafka::KafkaConfig {
            brokers: broker.address.clone(),
            topic_prefix: TOPIC_PREFIX.to_owned(),
            replication: 1,
            append_timeout: Duration::from_secs(10),
            security: kafka::Security::default(),
        };
        Ok(kafka::open(config).await?)
    }
}
