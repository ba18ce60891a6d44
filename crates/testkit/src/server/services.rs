//! Plexus as processes: standalone, or a mesh.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{Process, START, binary, free_port};
use crate::actor::Homeserver;
/// What a server needs beside itself.
pub struct Needs {
    /// Database URL.
    pub database: String,
    /// Bootstrap address of the broker; empty for the in-process log.
    pub brokers: String,
    /// Prefix of topics.
    pub topic_prefix: String,
    /// How a mesh secures what goes between its parts.
    pub wires: Wires,
}

/// Further keys of the configuration of a mesh, as TOML; by default there are none.
#[derive(Default)]
pub struct Wires {
    /// Lines of `[log]`.
    pub log: String,
    /// Lines of `[rpc]` and `[operator]`.
    pub calls: String,
    /// Keys of the listeners of gRPC, separated by commas. If there are any, room servers are called by `https://`.
    pub listeners: String,
}

/// The services, in one process or in several.
pub struct Services {
    folder: tempfile::TempDir,
    /// Everything in one process; or the room servers, the client API and sync.
    pub processes: Vec<(String, Process)>,
    /// Where clients reach it.
    pub homeserver: Homeserver,
    /// Where the other services reach the first room server of a mesh, as a URL. Standalone does not listen there.
    pub grpc: String,
    operators: Vec<u16>,
    /// What all processes of a mesh but the room servers are configured with.
    common: String,
}

/// What services show each other.
pub const RPC_TOKEN: &str = "of-the-services-of-a-test";

fn settings(folder: &Path, needs: &Needs) -> String {
    format!(
        "[server]\nname = \"plexus.test\"\nsigning_key = \"{}\"\n\
         [log]\nbrokers = \"{}\"\ntopic_prefix = \"{}\"\nreplication = 1\n{}\
         [postgres]\nurl = \"{}\"\n\
         [rpc]\ntoken = \"{RPC_TOKEN}\"\n{calls}[operator]\n{calls}\
         [registration]\nopen = true\nshared_secret = \"test secret\"\n\
         [auth]\nargon2_memory_kib = 64\nargon2_iterations = 1\n\
         [rate_limits]\nenabled = false\n",
        folder.join("signing.key").display(),
        needs.brokers,
        needs.topic_prefix,
        needs.wires.log,
        needs.database,
        calls = needs.wires.calls,
    )
}

/// Where a service listens.
fn listens(name: &str, port: u16) -> Result<String> {
    let admin = free_port()?;
    Ok(format!(
        "[{name}]\nlisten = {{ address = \"127.0.0.1:{port}\" }}\n\
         admin_http = {{ address = \"127.0.0.1:{admin}\" }}\n",
    ))
}

fn service(name: &str, label: &str, folder: &Path, config: &str) -> Result<(String, Process)> {
    let file = folder.join(format!("{label}.toml"));
    fs::write(&file, config)?;
    let program = binary(name)?;
    let process = Process::start(label, folder.join(format!("{label}.log")), move || {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&file);
        command
    })?;
    Ok((label.to_owned(), process))
}

impl Services {
    /// Starts `plexus-standalone`.
    pub async fn standalone(needs: &Needs) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("plexus-").tempdir_in("/tmp")?;
        let (client, admin, grpc, operator) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let config = format!(
            "{}[standalone]\nlisten = {{ address = \"127.0.0.1:{client}\" }}\n\
             admin_http = {{ address = \"127.0.0.1:{admin}\" }}\n\
             [roomserver]\nlisten = {{ address = \"127.0.0.1:{grpc}\" }}\n\
             operator_listen = {{ address = \"127.0.0.1:{operator}\" }}\n",
            settings(folder.path(), needs),
        );
        let processes = vec![service("plexus-standalone", "standalone", folder.path(), &config)?];
        let client = format!("http://127.0.0.1:{client}");
        let homeserver = Homeserver { sync: client.clone(), client };
        let mut services = Self {
            folder,
            processes,
            homeserver,
            grpc: format!("http://127.0.0.1:{grpc}"),
            operators: vec![operator],
            common: String::new(),
        };
        services.wait().await?;
        Ok(services)
    }

    /// Starts `room_servers` room servers, a client API and a sync, each a process of its own.
    pub async fn mesh(needs: &Needs, room_servers: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("plexus-").tempdir_in("/tmp")?;
        let ports = (0..room_servers).map(|_| Ok([free_port()?, free_port()?, free_port()?]));
        let ports = ports.collect::<Result<Vec<_>>>()?;
        let tls = &needs.wires.listeners;
        let (scheme, tls) =
            if tls.is_empty() { ("http", tls.clone()) } else { ("https", format!(", {tls}")) };
        let endpoints = ports.iter().map(|[grpc, ..]| format!("\"{scheme}://127.0.0.1:{grpc}\""));
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let base = settings(folder.path(), needs);
        let mut processes = Vec::new();
        for (index, [grpc, operator, admin]) in ports.iter().enumerate() {
            let config = format!(
                "{base}[roomserver]\nlisten = {{ address = \"127.0.0.1:{grpc}\"{tls} }}\n\
                 operator_listen = {{ address = \"127.0.0.1:{operator}\"{tls} }}\n\
                 admin_http = {{ address = \"127.0.0.1:{admin}\" }}\nendpoints = [{endpoints}]\n",
            );
            processes.push(service(
                "plexus-roomserver",
                &format!("roomserver-{index}"),
                folder.path(),
                &config,
            )?);
        }
        let common = format!("{base}[roomserver]\nendpoints = [{endpoints}]\n");
        let (client, sync) = (free_port()?, free_port()?);
        let config = format!("{common}{}", listens("clientapi", client)?);
        processes.push(service("plexus-clientapi", "clientapi", folder.path(), &config)?);
        let config = format!("{common}{}", listens("sync", sync)?);
        processes.push(service("plexus-sync", "sync", folder.path(), &config)?);
        let homeserver = Homeserver {
            client: format!("http://127.0.0.1:{client}"),
            sync: format!("http://127.0.0.1:{sync}"),
        };
        let grpc = format!("{scheme}://127.0.0.1:{}", ports[0][0]);
        let operators = ports.iter().map(|[_, operator, _]| *operator).collect();
        let mut services = Self { folder, processes, homeserver, grpc, operators, common };
        services.wait().await?;
        Ok(services)
    }

    /// Starts one more sync of a mesh; returns the homeserver as its clients see it.
    pub async fn add_sync(&mut self, label: &str) -> Result<Homeserver> {
        let port = free_port()?;
        let config = format!("{}{}", self.common, listens("sync", port)?);
        self.processes.push(service("plexus-sync", label, self.folder.path(), &config)?);
        let homeserver = Homeserver { sync: format!("http://127.0.0.1:{port}"), ..self.homeserver.clone() };
        let user = crate::actor::User::register(&homeserver, "probe").await?;
        let answers =
            async || user.sync(None, Duration::ZERO, "").await.is_ok_and(|answer| answer.ok().is_ok());
        self.process(label)?.ready(answers).await?;
        Ok(homeserver)
    }

    /// Waits until clients are answered, and until a registration goes through, which takes every service but sync.
    pub async fn wait(&mut self) -> Result<()> {
        let end = tokio::time::Instant::now() + START;
        loop {
            for (_, process) in &mut self.processes {
                process.check()?;
            }
            let last = match self.probe().await {
                Ok(()) => return Ok(()),
                Err(error) => format!("{error:#}"),
            };
            ensure!(tokio::time::Instant::now() < end, "the services are not ready after {START:?}: {last}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn probe(&self) -> Result<()> {
        let user = crate::actor::User::register(&self.homeserver, "probe").await?;
        user.sync(None, Duration::ZERO, "").await?.ok()?;
        Ok(())
    }

    /// The process of that label: `standalone`, `roomserver-0`, `clientapi`, `sync`, …
    pub fn process(&mut self, label: &str) -> Result<&mut Process> {
        let found = self.processes.iter_mut().find(|(name, _)| name == label);
        Ok(&mut found.with_context(|| format!("there is no {label}"))?.1)
    }

    /// The ends of all their logs, to be shown when something went wrong.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words =
            self.processes.iter().map(|(label, process)| format!("--- {label}\n{}\n", process.last_words()));
        words.collect()
    }

    /// Kills all processes at once.
    pub async fn kill(&mut self) -> Result<()> {
        for (_, process) in &mut self.processes {
            process.kill().await?;
        }
        Ok(())
    }

    /// Starts all processes again and waits until they are ready.
    pub async fn restart(&mut self) -> Result<()> {
        for (_, process) in &mut self.processes {
            process.restart()?;
        }
        self.wait().await
    }

    /// Where operators reach a room server, as a URL.
    pub fn operator(&self, index: usize) -> Result<String> {
        let port = self.operators.get(index).context("there is no such room server")?;
        Ok(format!("http://127.0.0.1:{port}"))
    }

    /// What operators show it; the room servers of a folder make it in a file.
    pub fn operator_token(&self) -> Result<String> {
        let token = fs::read_to_string(self.folder.path().join("operator.token"))?;
        Ok(token.trim().to_owned())
    }

    /// Folder of configurations and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
