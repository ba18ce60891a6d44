//! Servers under test, as processes: Postgres, a broker, the services.

mod services;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

pub use self::services::{Needs, RPC_TOKEN, Services, Wires};

/// How long a process may take to become ready.
const START: Duration = Duration::from_secs(120);

/// Lines of a log that are shown when something went wrong.
const LAST_WORDS: usize = 30;

/// Returns a port of 127.0.0.1 that nothing listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The root of the repository in which the tests run; they may have been built in another checkout.
#[must_use]
pub fn repository() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let found = here.ancestors().find(|folder| folder.join(KAFKA).is_file());
    found.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), Path::to_owned)
}

/// Starts a broker.
const KAFKA: &str = "deploy/kafka/run";

/// Where the binaries under test are: `PLEXUS_BIN_DIR`.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = std::env::var("PLEXUS_BIN_DIR")
        .context("PLEXUS_BIN_DIR is not set: run these tests by `tests/run mesh`")?;
    let path = Path::new(&folder).join(name);
    ensure!(path.is_file(), "{} does not exist", path.display());
    Ok(path)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// A process that is killed when it is dropped, and can be killed and started again.
pub struct Process {
    name: String,
    make: Box<dyn Fn() -> Command + Send + Sync>,
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a process; its output goes to `log`.
    pub fn start(
        name: &str,
        log: PathBuf,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut process = Self { name: name.to_owned(), make: Box::new(make), child: None, log };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().with_context(|| format!("failed to start {}", self.name))?);
        Ok(())
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.as_ref().and_then(Child::id).context("the process has ended")?;
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().await?;
        ensure!(status.success(), "failed to signal {}", self.name);
        Ok(())
    }

    /// Kills it at once and waits for its end.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Stops it by SIGTERM and waits for its end; fails if it takes longer than 30 s or ends in an error.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal("TERM").await?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let status = tokio::time::timeout(Duration::from_secs(30), child.wait())
            .await
            .with_context(|| format!("{} did not stop", self.name))??;
        ensure!(status.success(), "{} ended with {status}; see {}", self.name, self.log.display());
        Ok(())
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            bail!("{} ended with {status}:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// What it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it has printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.output();
        let tail = log.lines().rev().take(LAST_WORDS).collect::<Vec<_>>();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    async fn ready(&mut self, mut is_ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let end = tokio::time::Instant::now() + START;
        loop {
            self.check()?;
            if is_ready().await {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < end, "{} is not ready after {START:?}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A Postgres cluster of its own, that a test may kill; reached by a Unix socket.
pub struct Postgres {
    folder: tempfile::TempDir,
    /// Part of the socket's name.
    port: u16,
    /// The server process.
    pub process: Process,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[], 5432, Vec::new()).await
    }

    /// Makes a cluster that listens on a port of 127.0.0.1, and there takes nobody without TLS; returns also the port.
    /// Certificate and key are PEM.
    pub async fn start_with_tls(certificate: &str, key: &str) -> Result<(Self, u16)> {
        let port = free_port()?;
        let files = [
            ("server.crt", certificate),
            ("server.key", key),
            ("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"),
        ];
        let settings = vec!["listen_addresses=127.0.0.1", "ssl=on"];
        Ok((Self::start_with(&files, port, settings).await?, port))
    }

    /// Makes a cluster with files in its folder, and starts it with settings.
    async fn start_with(files: &[(&str, &str)], port: u16, settings: Vec<&'static str>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("plexus-pg-").tempdir_in("/tmp")?;
        let bin = postgres_bin()?;
        let data = folder.path().join("data");
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(folder.path()).status().await?;
            ensure!(status.success(), "failed to hand the folder to postgres");
        }
        let status = as_postgres(&bin.join("initdb"))
            .args(["--locale=C", "-E", "UTF8", "-A", "trust", "-U", "postgres", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(status.success(), "initdb failed");
        for (name, text) in files {
            let path = data.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            if is_root() {
                let status = Command::new("chown").arg("postgres").arg(&path).status().await?;
                ensure!(status.success(), "failed to hand {} to postgres", path.display());
            }
        }
        let log = folder.path().join("log");
        let socket = folder.path().to_owned();
        let server = bin.join("postgres");
        let process = Process::start("postgres", log, move || {
            let mut command = as_postgres(&server);
            command.arg("-D").arg(&data).arg("-k").arg(&socket).args(["-c", "listen_addresses="]);
            command.arg("-p").arg(port.to_string());
            for setting in &settings {
                command.arg("-c").arg(setting);
            }
            command
        })?;
        let mut postgres = Self { folder, port, process };
        postgres.wait().await?;
        Ok(postgres)
    }

    /// Folder of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until it takes connections.
    pub async fn wait(&mut self) -> Result<()> {
        let socket = self.folder.path().to_owned();
        let (bin, port) = (postgres_bin()?.join("pg_isready"), self.port.to_string());
        self.process
            .ready(async || {
                let mut command = Command::new(&bin);
                command.arg("-q").arg("-h").arg(&socket).args(["-p", &port, "-U", "postgres"]);
                command.status().await.is_ok_and(|status| status.success())
            })
            .await
    }

    /// Kills all its processes at once, as a crash of the machine would.
    pub async fn kill(&mut self) -> Result<()> {
        let pid_file = self.folder.path().join("data/postmaster.pid");
        let pid = fs::read_to_string(pid_file)?.lines().next().context("no pid")?.to_owned();
        let status = Command::new("kill").args(["-9", &pid]).status().await?;
        ensure!(status.success(), "failed to kill postgres");
        self.process.kill().await
    }

    /// Makes a database; returns its URL.
    pub async fn database(&self, name: &str) -> Result<String> {
        let status = Command::new(postgres_bin()?.join("createdb"))
            .arg("-h")
            .arg(self.socket())
            .args(["-p", &self.port.to_string(), "-U", "postgres", name])
            .status()
            .await?;
        ensure!(status.success(), "createdb failed");
        Ok(format!("postgres:///{name}?host={}&user=postgres", self.socket().display()))
    }
}

impl Postgres {
    /// Runs a query in a database; returns its only value as text.
    pub async fn query(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(postgres_bin()?.join("psql"))
            .arg("-h")
            .arg(self.socket())
            .args(["-p", &self.port.to_string(), "-U", "postgres", "-d", database, "-Atqc", sql])
            .output()
            .await?;
        ensure!(output.status.success(), "psql failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn as_postgres(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn postgres_bin() -> Result<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .context("Postgres is not installed")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().context("Postgres is not installed")
}

/// A Kafka broker of its own, that a test may kill.
pub struct Broker {
    folder: tempfile::TempDir,
    /// Bootstrap address.
    pub address: String,
    /// The broker process.
    pub process: Process,
}

impl Broker {
    /// Starts a broker by `deploy/kafka/run`; its jars must be installed (`deploy/kafka/install`).
    pub async fn start() -> Result<Self> {
        Self::start_with(Vec::new()).await
    }

    /// Starts a broker with further arguments.
    pub async fn start_with(arguments: Vec<String>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("plexus-kafka-").tempdir_in("/tmp")?;
        let (port, controller) = (free_port()?, free_port()?);
        let data = folder.path().join("data");
        let run = repository().join(KAFKA);
        let process = Process::start("kafka", folder.path().join("log"), move || {
            let mut command = Command::new(&run);
            command.arg("--data").arg(&data).args(["--port", &port.to_string()]);
            command.args(["--controller-port", &controller.to_string()]).args(&arguments);
            command
        })?;
        let mut broker = Self { folder, address: format!("127.0.0.1:{port}"), process };
        broker.wait().await?;
        Ok(broker)
    }

    /// Waits until it takes connections.
    pub async fn wait(&mut self) -> Result<()> {
        let address = self.address.clone();
        self.process.ready(async || tokio::net::TcpStream::connect(&address).await.is_ok()).await
    }

    /// Deletes everything it holds; it must not be running.
    pub fn wipe(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.folder.path().join("data"))?)
    }
}
