//! The two shapes of a server, each with a database and, if it needs one, a broker of its own.

use anyhow::Result;
use plexus_testkit::server::{Broker, Needs, Postgres, Services};

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
        let topic_prefix = "test.".to_owned();
        let (broker, services) = match shape {
            Shape::Standalone => {
                let needs = Needs { database, brokers: String::new(), topic_prefix };
                (None, Services::standalone(&needs).await?)
            }
            Shape::Mesh(room_servers) => {
                let broker = Broker::start().await?;
                let needs = Needs { database, brokers: broker.address.clone(), topic_prefix };
                let services = Services::mesh(&needs, room_servers).await?;
                (Some(broker), services)
            }
        };
        Ok(Self { services, broker, postgres })
    }
}
