//! Media under kills: what was uploaded, kept outside the server, and readers who compare every byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use plexus_testkit::actor::User;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::Mutex;

/// Longest that an upload or a download is repeated.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause before the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// An upload that was acknowledged.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// Server name and media ID.
    path: String,
    seed: u64,
    size: usize,
}

/// Bytes that follow from a number.
#[must_use]
pub fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(size).collect()
}

/// Uploads that were acknowledged, and what readers met.
#[derive(Default)]
pub struct Library {
    uploaded: Mutex<Vec<Uploaded>>,
    next: AtomicUsize,
    /// Downloads that brought everything.
    pub whole: AtomicUsize,
    /// Downloads that broke off, or were refused because something was away.
    pub broken: AtomicUsize,
    /// Uploads that had to be repeated.
    pub repeated: AtomicUsize,
}

impl Library {
    /// Number of acknowledged uploads.
    pub async fn count(&self) -> usize {
        self.uploaded.lock().await.len()
    }

    /// Uploads until there are `count`, each repeated until it is acknowledged.
    pub async fn fill(&self, http: &reqwest::Client, base: &str, user: &User, count: usize) -> Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            // Every eighth has the bytes of the one before.
            let seed = u64::try_from(if number % 8 == 7 { number - 1 } else { number })?;
            let size = usize::try_from(seed.wrapping_mul(2_654_435_761) % (768 * 1024))? + 1;
            let path = self.upload(http, base, user, bytes(seed, size)).await?;
            self.uploaded.lock().await.push(Uploaded { path, seed, size });
        }
    }

    async fn upload(&self, http: &reqwest::Client, base: &str, user: &User, body: Vec<u8>) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let request = http
                .post(format!("{base}/_matrix/media/v3/upload?filename=x.bin"))
                .bearer_auth(&user.token)
                .header("content-type", "application/octet-stream")
                .body(body.clone());
            let told = match request.send().await {
                Ok(answer) if answer.status() == StatusCode::OK => match answer.json::<Value>().await {
                    Ok(answer) => {
                        let uri = answer["content_uri"].as_str().context("no content_uri")?;
                        return Ok(uri.strip_prefix("mxc://").context("not an mxc URI")?.to_owned());
                    }
                    Err(error) => error.to_string(),
                },
                Ok(answer) if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS => {
                    bail!("an upload was refused: {} {:?}", answer.status(), answer.text().await);
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            ensure!(Instant::now() < end, "an upload fails for {PATIENCE:?}: {told}");
            self.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Downloads what was acknowledged, some of it in ranges, until told to stop.
    pub async fn read_while(
        &self,
        http: &reqwest::Client,
        base: &str,
        user: &User,
        go_on: &AtomicBool,
    ) -> Result<()> {
        let mut turn = 0_usize;
        while go_on.load(Ordering::Relaxed) {
            turn = turn.wrapping_mul(31).wrapping_add(17);
            let one = {
                let uploaded = self.uploaded.lock().await;
                if uploaded.is_empty() { None } else { Some(uploaded[turn % uploaded.len()].clone()) }
            };
            let Some(one) = one else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let range = (turn % 3 == 0).then(|| one.size / 3);
            match download(http, base, user, &one, range).await? {
                true => {
                    self.whole.fetch_add(1, Ordering::Relaxed);
                }
                false => {
                    self.broken.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Downloads all that was acknowledged, each until it comes.
    pub async fn check(&self, http: &reqwest::Client, base: &str, user: &User) -> Result<()> {
        for one in self.uploaded.lock().await.iter() {
            let end = Instant::now() + PATIENCE;
            while !download(http, base, user, one, None).await? {
                ensure!(Instant::now() < end, "{} cannot be had", one.path);
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// Downloads media and compares it. An answer that says it is whole and is not, or that there is no such media, is an
/// error; one that broke off, or a server that is away, is `false`.
async fn download(
    http: &reqwest::Client,
    base: &str,
    user: &User,
    one: &Uploaded,
    from: Option<usize>,
) -> Result<bool> {
    let mut request = http
        .get(format!("{base}/_matrix/client/v1/media/download/{}", one.path))
        .bearer_auth(&user.token);
    if let Some(from) = from {
        request = request.header("range", format!("bytes={from}-"));
    }
    let Ok(answer) = request.send().await else { return Ok(false) };
    let (status, from) = (answer.status(), from.unwrap_or(0));
    let Ok(body) = answer.bytes().await else { return Ok(false) };
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(false);
    }
    ensure!(status.is_success(), "{} was acknowledged, and now it is {status} {body:?}", one.path);
    let wanted = bytes(one.seed, one.size);
    let wanted = if status == StatusCode::PARTIAL_CONTENT { &wanted[from..] } else { &wanted[..] };
    ensure!(body.as_ref() == wanted, "{} has {} bytes instead of {}", one.path, body.len(), wanted.len());
    Ok(true)
}

/// Uploads and downloads by all users at once, until `count` uploads are acknowledged, while `disturb` runs.
pub async fn under_load(
    http: &reqwest::Client,
    base: &str,
    users: &[User],
    count: usize,
    disturb: impl AsyncFnOnce(Arc<AtomicBool>) -> Result<()>,
) -> Result<Arc<Library>> {
    let library = Arc::new(Library::default());
    let go_on = Arc::new(AtomicBool::new(true));
    let mut writers = tokio::task::JoinSet::new();
    let mut readers = tokio::task::JoinSet::new();
    for user in users {
        let (library, http, base, user) = (Arc::clone(&library), http.clone(), base.to_owned(), user.clone());
        let (library2, http2, base2, user2) = (Arc::clone(&library), http.clone(), base.clone(), user.clone());
        writers.spawn(async move { library.fill(&http, &base, &user, count).await });
        let go_on = Arc::clone(&go_on);
        readers.spawn(async move { library2.read_while(&http2, &base2, &user2, &go_on).await });
    }
    let writing = {
        let go_on = Arc::clone(&go_on);
        async move {
            let mut result = Ok(());
            while let Some(done) = writers.join_next().await {
                if let Err(failure) = done.map_err(anyhow::Error::from).flatten() {
                    result = Err(failure);
                    break;
                }
            }
            go_on.store(false, Ordering::Relaxed);
            result
        }
    };
    let (written, disturbed) = tokio::join!(writing, disturb(Arc::clone(&go_on)));
    while let Some(done) = readers.join_next().await {
        done??;
    }
    written?;
    disturbed?;
    Ok(library)
}
