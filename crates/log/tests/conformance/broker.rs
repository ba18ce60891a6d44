//! A broker of a test's own, to be killed and started again.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use plexus_log::{InputRoom, Topic as _, kafka::KafkaConfig};
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    config::ClientConfig,
};
use tokio::process::{Child, Command};

pub(crate) struct Broker {
    data: tempfile::TempDir,
    port: u16,
    controller_port: u16,
    process: Option<Child>,
    /// Further arguments of `deploy/kafka/run`.
    arguments: Vec<String>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// Starts a broker with further arguments.
    pub(crate) async fn start_with(arguments: Vec<String>) -> Self {
        let mut broker = Self {
            data: tempfile::tempdir().unwrap(),
            port: free_port(),
            controller_port: free_port(),
            process: None,
            arguments,
        };
        broker.run().await;
        broker
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the broker on its old data; returns when it takes connections.
    pub(crate) async fn run(&mut self) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/run");
        let process = Command::new(script)
            .arg("--data")
            .arg(self.data.path())
            .args(["--port", &self.port.to_string()])
            .args(["--controller-port", &self.controller_port.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("deploy/kafka/run starts");
        self.process = Some(process);
        let start = Instant::now();
        while tokio::net::TcpStream::connect(self.address()).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(120), "the broker does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }
}

/// Deletes the topic that scenarios use.
pub(crate) async fn delete_topic(config: &KafkaConfig) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let name = format!("{}{}", config.topic_prefix, InputRoom::SPEC.name);
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let deleted = admin.delete_topics(&[&name], &options).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    // That is the word of the controller. The broker goes on to answer from the topic's log until it has heard of it.
    let is_known = || {
        let metadata = admin.inner().fetch_metadata(Some(&name), Duration::from_secs(10)).unwrap();
        metadata.topics().iter().all(|topic| topic.error().is_none())
    };
    let start = Instant::now();
    while tokio::task::block_in_place(is_known) {
        assert!(start.elapsed() < Duration::from_secs(20), "the broker still has {name}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
