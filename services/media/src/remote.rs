//! Media of other servers: fetched once, told while it comes, and kept.

mod error;
mod multipart;
mod open;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use moka::sync::Cache;
use parking_lot::Mutex;
use plexus_matrix_http::MatrixError;
use plexus_outbound::Fetcher;
use plexus_proto::media::v1::{Media as Row, MediaState};
use plexus_s2s::{Peers, now_ms};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Media,
    id::{MediaUri, not_found},
    metrics,
    receive::failed,
    rows,
    serve::{Audience, describe},
};
use error::RemoteError;
use open::Source;

/// Media that is fetched at a time.
const AT_ONCE: usize = 64;
/// How long a failure is remembered, and how many are.
const FAILED: Duration = Duration::from_secs(300);
const MAX_FAILURES: u64 = 100_000;
/// Pieces that wait for a client that is told while media comes, and how long the media waits for the client.
const PIECES: usize = 4;
const SLOW_CLIENT: Duration = Duration::from_secs(20);

/// Fetches media of other servers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote {
    peers: Peers,
    fetcher: Fetcher,
    turns: Arc<Semaphore>,
    flights: Arc<Mutex<HashMap<MediaUri, watch::Receiver<Option<Outcome>>>>>,
    failures: Cache<MediaUri, MatrixError>,
}

/// How a fetch has ended.
type Outcome = Result<(), MatrixError>;

/// Who is told while media comes: what it is, and then its pieces.
struct Client {
    told: Option<oneshot::Sender<Result<Head, RemoteError>>>,
    pieces: Option<mpsc::Sender<Result<Bytes, RemoteError>>>,
}

/// What is had of media of another server.
pub(crate) enum Got {
    /// It is stored.
    Row(Box<Row>),
    /// It is coming.
    Passing(Passing),
}

/// Media that is told while it comes.
pub(crate) struct Passing {
    content_type: String,
    file_name: String,
    length: Option<u64>,
    pieces: mpsc::Receiver<Result<Bytes, RemoteError>>,
}

/// What is known before the first byte.
struct Head {
    content_type: String,
    file_name: String,
    length: Option<u64>,
}

/// Takes a fetch off the list when it ends, however it does.
struct Landing {
    remote: Remote,
    uri: MediaUri,
    ended: watch::Sender<Option<Outcome>>,
    outcome: Outcome,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.remote.flights.lock().remove(&self.uri);
        self.ended.send_replace(Some(self.outcome.clone()));
    }
}

impl Passing {
    pub(crate) fn answer(self, name: Option<String>, audience: Audience) -> Response {
        let file_name = name.unwrap_or(self.file_name);
        let mut headers = describe(&self.content_type, &file_name, audience);
        if let Some(length) = self.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        (StatusCode::OK, headers, Body::from_stream(ReceiverStream::new(self.pieces))).into_response()
    }
}

impl Remote {
    pub(crate) fn new(peers: Peers, fetcher: Fetcher) -> Self {
        Self {
            peers,
            fetcher,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            flights: Arc::default(),
            failures: Cache::builder().max_capacity(MAX_FAILURES).time_to_live(FAILED).build(),
        }
    }

    /// Begins a fetch, or finds the one that is under way.
    fn begin(&self, uri: &MediaUri) -> Result<Landing, watch::Receiver<Option<Outcome>>> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(uri) {
            return Err(flight.clone());
        }
        let (ended, flight) = watch::channel(None);
        flights.insert(uri.clone(), flight);
        let outcome = Err(RemoteError::Failed("it broke off".to_owned()).into());
        Ok(Landing { remote: self.clone(), uri: uri.clone(), ended, outcome })
    }
}

impl Media {
    /// Finds media of another server, or has it come.
    pub(crate) async fn find_remote(
        &self,
        uri: &MediaUri,
        wait: Duration,
        may_fetch: bool,
        audience: Audience,
    ) -> Result<Got, MatrixError> {
        if let Some(row) = self.cached(uri).await? {
            return Ok(Got::Row(Box::new(row)));
        }
        let remote = self.may_fetch(uri, may_fetch, audience)?;
        match remote.begin(uri) {
            Ok(landing) => {
                let (pieces, receiver) = mpsc::channel(PIECES);
                let (told, head) = oneshot::channel();
                let client = Client { told: Some(told), pieces: Some(pieces) };
                // Whoever goes away has others wait for it no less.
                tokio::spawn(self.clone().fetch(landing, wait, client));
                let head = timeout(wait + Duration::from_secs(5), head).await;
                let head = head.map_err(|_| RemoteError::NotYetUploaded)?;
                let head = head.map_err(|_| RemoteError::Failed("it broke off".to_owned()))??;
                let Head { content_type, file_name, length } = head;
                Ok(Got::Passing(Passing { content_type, file_name, length, pieces: receiver }))
            }
            Err(flight) => self.await_flight(uri, flight, wait).await.map(|row| Got::Row(Box::new(row))),
        }
    }

    /// Finds media of another server, after it has come.
    pub(crate) async fn fetch_remote(
        &self,
        uri: &MediaUri,
        wait: Duration,
        may_fetch: bool,
        audience: Audience,
    ) -> Result<Row, MatrixError> {
        if let Some(row) = self.cached(uri).await? {
            return Ok(row);
        }
        let remote = self.may_fetch(uri, may_fetch, audience)?;
        let flight = match remote.begin(uri) {
            Ok(landing) => {
                let flight = landing.ended.subscribe();
                tokio::spawn(self.clone().fetch(landing, wait, Client { told: None, pieces: None }));
                flight
            }
            Err(flight) => flight,
        };
        self.await_flight(uri, flight, wait).await
    }

    async fn cached(&self, uri: &MediaUri) -> Result<Option<Row>, MatrixError> {
        match self.rows.find(uri).await? {
            Some(row) if row.quarantined => Err(not_found()),
            Some(row) if row.state() == MediaState::Ready => Ok(Some(row)),
            Some(_) | None => Ok(None),
        }
    }

    fn may_fetch(&self, uri: &MediaUri, may_fetch: bool, audience: Audience) -> Result<&Remote, MatrixError> {
        // What comes now was not public before.
        let is_frozen =
            audience == Audience::Anybody && now_ms() >= self.media_config().unauthenticated_before_ts;
        let remote = self.remote.as_ref().filter(|_| may_fetch && !is_frozen).ok_or_else(not_found)?;
        remote.failures.get(uri).map_or(Ok(remote), Err)
    }

    async fn await_flight(
        &self,
        uri: &MediaUri,
        mut flight: watch::Receiver<Option<Outcome>>,
        wait: Duration,
    ) -> Result<Row, MatrixError> {
        let ended =
            async { flight.wait_for(Option::is_some).await.ok().and_then(|outcome| (*outcome).clone()) };
        match timeout(wait, ended).await {
            Err(_) => Err(RemoteError::NotYetUploaded.into()),
            Ok(Some(Err(error))) => Err(error),
            Ok(Some(Ok(())) | None) => self.cached(uri).await?.ok_or_else(not_found),
        }
    }

    async fn fetch(self, mut landing: Landing, wait: Duration, mut client: Client) {
        let fetched = self.pass_on(&landing, wait, &mut client).await;
        let Err(error) = fetched else {
            metrics::remote("fetched");
            landing.outcome = Ok(());
            return;
        };
        metrics::remote(error.label());
        let uri = &landing.uri;
        tracing::debug!(%uri, error = plexus_s2s::chain(&error), "media of another server did not come");
        let refusal = MatrixError::from(error.copy());
        if error.is_lasting() {
            landing.remote.failures.insert(uri.clone(), refusal.clone());
        }
        landing.outcome = Err(refusal);
        if let Some(told) = client.told {
            told.send(Err(error)).ok();
        } else if let Some(pieces) = client.pieces {
            // Its body is cut, so that nobody takes it for whole.
            timeout(SLOW_CLIENT, pieces.send(Err(error))).await.ok();
        }
    }

    /// Stores what comes, and hands it to the client who asked, as long as it takes it.
    async fn pass_on(
        &self,
        landing: &Landing,
        wait: Duration,
        client: &mut Client,
    ) -> Result<(), RemoteError> {
        let remote = &landing.remote;
        let _turn = remote.turns.acquire().await.map_err(|_| RemoteError::Failed("stopping".to_owned()))?;
        let max = self.media_config().max_remote_bytes;
        let source = open::open(&remote.peers, &remote.fetcher, &landing.uri, wait, max).await?;
        let Source { content_type, file_name, length, mut pieces } = source;
        if length.is_some_and(|length| length > max) {
            return Err(RemoteError::TooLarge);
        }
        if let Some(told) = client.told.take() {
            let head = Head { content_type: content_type.clone(), file_name: file_name.clone(), length };
            told.send(Ok(head)).ok();
        }
        let store = |error| RemoteError::Ours(failed(&error));
        let mut upload = self.store.begin().await.map_err(store)?;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if upload.size().saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX)) > max {
                return Err(RemoteError::TooLarge);
            }
            if let Some(sender) = client.pieces.as_ref()
                && !matches!(timeout(SLOW_CLIENT, sender.send(Ok(piece.clone()))).await, Ok(Ok(())))
            {
                // It is gone, or slow: dropping its channel without the rest would look like the end.
                if let Some(sender) = client.pieces.take() {
                    sender.try_send(Err(RemoteError::Failed("the client is slow".to_owned()))).ok();
                }
            }
            upload.write(piece).await.map_err(store)?;
        }
        if length.is_some_and(|length| length != upload.size()) {
            return Err(RemoteError::Failed("it has another length than was told".to_owned()));
        }
        let stored = upload.finish().await.map_err(store)?;
        metrics::stored(stored.size);
        let blob = rows::blob(stored, content_type, file_name);
        self.rows.commit_remote(&landing.uri, blob).await.map_err(|error| RemoteError::Ours(error.into()))
    }
}
