//! Media against a ledger outside the server: whatever is killed, what was acknowledged is served byte for byte, and
//! nothing is served half.
//!
//! `PLEXUS_MEDIA_UPLOADS` and `PLEXUS_MEDIA_KILLS` make it longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use plexus_testkit::actor::User;
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::{sync::Mutex, task::JoinSet};

/// Users who upload and download, each one thing at a time.
const USERS: usize = 4;
/// How long anything may take to go on again.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of an upload.
const MAX_SIZE: u64 = 2 << 20;

fn dose(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

/// An upload: its bytes follow from its number.
#[derive(Debug, Clone)]
struct Upload {
    number: u64,
    /// Server name and media ID.
    path: String,
}

/// What was uploaded, and what readers met.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: Mutex<Vec<Upload>>,
    /// IDs that were reserved, and whose upload is not acknowledged yet: whole or nothing.
    reserved: Mutex<Vec<Upload>>,
    begun: AtomicUsize,
    whole: AtomicUsize,
    broken: AtomicUsize,
}

/// Who uploads and downloads.
struct Actor {
    http: Client,
    base: String,
    token: String,
}

fn bytes(number: u64) -> Vec<u8> {
    let size = number.wrapping_mul(2_654_435_761) % MAX_SIZE + 1;
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = usize::try_from(size / 8 + 1).unwrap_or_default();
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| next()).collect();
    bytes.truncate(usize::try_from(size).unwrap_or_default());
    bytes
}

/// What became of an upload.
enum Sent {
    /// The content URI, without its scheme.
    Done(String),
    /// It is there already: the answer to it was lost.
    There,
    /// Nobody knows.
    Lost,
}

impl Actor {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Uploads, by one request that may get lost.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Sent> {
        let request = self.ask(method, path).header("content-type", "application/octet-stream").body(body);
        let Ok(answer) = request.send().await else { return Ok(Sent::Lost) };
        let status = answer.status();
        let Ok(told) = answer.json::<Value>().await else { return Ok(Sent::Lost) };
        match status {
            StatusCode::OK => {
                let uri = told["content_uri"].as_str().and_then(|uri| uri.strip_prefix("mxc://"));
                Ok(Sent::Done(uri.unwrap_or_default().to_owned()))
            }
            StatusCode::CONFLICT => Ok(Sent::There),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Ok(Sent::Lost),
            status => bail!("an upload was refused: {status} {told}"),
        }
    }

    /// Uploads until it is acknowledged.
    async fn upload(&self, number: u64) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.send(Method::POST, "/_matrix/media/v3/upload?filename=x.bin", bytes(number)).await? {
                Sent::Done(path) => return Ok(path),
                Sent::There => bail!("an upload without an ID is there already"),
                Sent::Lost => tokio::time::sleep(PAUSE).await,
            }
            ensure!(Instant::now() < end, "an upload was not acknowledged in {PATIENCE:?}");
        }
    }

    /// Reserves an ID, and uploads to it until it is acknowledged.
    async fn upload_reserved(&self, number: u64, ledger: &Ledger) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let path = loop {
            if let Sent::Done(path) = self.send(Method::POST, "/_matrix/media/v1/create", Vec::new()).await? {
                break path;
            }
            ensure!(Instant::now() < end, "an ID was not reserved in {PATIENCE:?}");
            tokio::time::sleep(PAUSE).await;
        };
        ledger.reserved.lock().await.push(Upload { number, path: path.clone() });
        let to = format!("/_matrix/media/v3/upload/{path}");
        loop {
            match self.send(Method::PUT, &to, bytes(number)).await? {
                Sent::Done(_) | Sent::There => break,
                Sent::Lost => tokio::time::sleep(PAUSE).await,
            }
            ensure!(Instant::now() < end, "an upload was not acknowledged in {PATIENCE:?}");
        }
        ledger.reserved.lock().await.retain(|upload| upload.path != path);
        Ok(path)
    }

    /// Makes uploads until there are enough; every third to an ID that was reserved before.
    async fn upload_all(&self, ledger: &Ledger, count: usize) -> Result<()> {
        loop {
            let index = ledger.begun.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            // Every eighth has the bytes of the one before, and so its blob.
            let number = u64::try_from(if index % 8 == 7 { index - 1 } else { index })?;
            let path = match index % 3 {
                0 => self.upload_reserved(number, ledger).await?,
                _ => self.upload(number).await?,
            };
            ledger.acknowledged.lock().await.push(Upload { number, path });
        }
    }

    /// Downloads and compares. `false` if the answer broke off or told that the server is away.
    async fn download(&self, upload: &Upload, from: Option<usize>, may_be_absent: bool) -> Result<bool> {
        let mut request =
            self.ask(Method::GET, &format!("/_matrix/client/v1/media/download/{}?timeout_ms=0", upload.path));
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        let Ok(answer) = request.send().await else { return Ok(false) };
        let status = answer.status();
        let Ok(body) = answer.bytes().await else { return Ok(false) };
        let absent = [StatusCode::GATEWAY_TIMEOUT, StatusCode::NOT_FOUND];
        if status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || (may_be_absent && absent.contains(&status))
        {
            return Ok(false);
        }
        ensure!(status.is_success(), "{} is answered {status} {body:?}", upload.path);
        let wanted = bytes(upload.number);
        let wanted = match (status, from) {
            (StatusCode::PARTIAL_CONTENT, Some(from)) => &wanted[from..],
            _ => &wanted[..],
        };
        ensure!(body == wanted, "{} has {} bytes and not {}", upload.path, body.len(), wanted.len());
        Ok(true)
    }

    /// Downloads one after the other what is there or may be there, some of it in part, until told to stop.
    async fn download_while(&self, ledger: &Ledger, go_on: &AtomicBool) -> Result<()> {
        let mut turn = 0_usize;
        while go_on.load(Ordering::Relaxed) {
            turn += 1;
            let may_be_absent = turn.is_multiple_of(4);
            let list = if may_be_absent { &ledger.reserved } else { &ledger.acknowledged };
            let upload = {
                let list = list.lock().await;
                let index = turn.wrapping_mul(7919) % list.len().max(1);
                list.get(index).cloned()
            };
            let Some(upload) = upload else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let from = (turn.is_multiple_of(5) && !may_be_absent).then(|| bytes(upload.number).len() / 3);
            if self.download(&upload, from, may_be_absent).await? {
                ledger.whole.fetch_add(1, Ordering::Relaxed);
            } else {
                ledger.broken.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_whole_or_absent_whatever_is_killed() -> Result<()> {
    let (uploads, kills) = (dose("PLEXUS_MEDIA_UPLOADS", 60), dose("PLEXUS_MEDIA_KILLS", 4));
    let mut stage = Stage::start(Shape::Standalone).await?;
    let server = stage.services.homeserver.clone();
    let http = Client::builder().timeout(Duration::from_secs(20)).build()?;
    let mut actors = Vec::new();
    for _ in 0..USERS {
        let user = User::register(&server, "librarian").await?;
        actors.push(Arc::new(Actor { http: http.clone(), base: server.client.clone(), token: user.token }));
    }
    let ledger = Arc::new(Ledger::default());
    let go_on = Arc::new(AtomicBool::new(true));
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for actor in &actors {
        let (writer, ledger2) = (Arc::clone(actor), Arc::clone(&ledger));
        writers.spawn(async move { writer.upload_all(&ledger2, uploads).await });
        let (reader, ledger, go_on) = (Arc::clone(actor), Arc::clone(&ledger), Arc::clone(&go_on));
        readers.spawn(async move { reader.download_while(&ledger, &go_on).await });
    }
    for kill in 0..kills {
        while ledger.acknowledged.lock().await.len() < uploads * (kill + 1) / (kills + 1)
            && !writers.is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(ended) = writers.try_join_next() {
                ended?.with_context(|| stage.services.last_words())?;
            }
        }
        let process = stage.services.process("standalone")?;
        process.kill().await?;
        process.restart()?;
    }
    while let Some(ended) = writers.join_next().await {
        ended?.with_context(|| stage.services.last_words())?;
    }
    go_on.store(false, Ordering::Relaxed);
    while let Some(ended) = readers.join_next().await {
        ended?.with_context(|| stage.services.last_words())?;
    }
    let acknowledged = ledger.acknowledged.lock().await;
    ensure!(acknowledged.len() == uploads, "{} of {uploads} were acknowledged", acknowledged.len());
    for upload in acknowledged.iter() {
        let end = Instant::now() + PATIENCE;
        while !actors[0].download(upload, None, false).await? {
            ensure!(Instant::now() < end, "{} cannot be had", upload.path);
            tokio::time::sleep(PAUSE).await;
        }
    }
    let whole = ledger.whole.load(Ordering::Relaxed);
    ensure!(whole > uploads / 4, "only {whole} downloads came whole meanwhile: that is no load");
    let broken = ledger.broken.load(Ordering::Relaxed);
    println!("{uploads} uploads, {kills} kills, {whole} downloads meanwhile, {broken} broke off");
    Ok(())
}
