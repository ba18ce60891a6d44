//! Reading URLs that strangers choose.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::{ConnectError, Dialer, wire::Wire};

/// How long connections are kept for the next request.
const IDLE: Duration = Duration::from_secs(15);

/// Bounds of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for everything, redirects and body too.
    pub deadline: Duration,
    /// Most bytes of the body.
    pub max_body: usize,
    /// Most redirects.
    pub max_redirects: usize,
    /// Whether `http:` is refused, in redirects, too.
    pub https_only: bool,
}

/// What was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Where it was in the end.
    pub url: Url,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// An answer whose body has not been read.
pub struct OpenedUrl {
    /// Where it was in the end.
    pub url: Url,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub pieces: Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL, or one it leads to, is not for us.
    #[error("the URL cannot be fetched: {0}")]
    Url(&'static str),
    /// There were too many redirects.
    #[error("there were too many redirects")]
    Redirects,
    /// The body is too long.
    #[error("the body is too long")]
    TooLarge,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The server could not be reached, or did not answer as one of HTTP does.
    #[error("the request failed")]
    Http(#[from] hyper_util::client::legacy::Error),
    /// The body broke off.
    #[error("the body broke off: {0}")]
    Body(String),
}

impl FetchError {
    /// Why there was no connection, if there was none.
    #[must_use]
    pub fn connect(&self) -> Option<&ConnectError> {
        let mut error: &(dyn std::error::Error + 'static) = self;
        loop {
            if let Some(connect) = error.downcast_ref() {
                return Some(connect);
            }
            error = error.source()?;
        }
    }
}

/// Fetches URLs. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    client: Client<UrlConnector, Empty<Bytes>>,
    agent: HeaderValue,
}

impl Fetcher {
    /// Makes one that says who it is.
    #[must_use]
    pub fn new(dialer: Dialer, agent: HeaderValue) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(UrlConnector { dialer });
        Self { client, agent }
    }

    /// Gets a URL, following redirects.
    pub async fn get(&self, url: Url, limits: Limits) -> Result<Fetched, FetchError> {
        let fetched = timeout(limits.deadline, self.follow(url, limits)).await;
        fetched.unwrap_or(Err(FetchError::TimedOut))
    }

    /// Gets a URL, following redirects, and leaves the body to be read, piece by piece: it ends with an error if it breaks
    /// off, is too long, or is not there in time.
    pub async fn open(&self, url: Url, limits: Limits) -> Result<OpenedUrl, FetchError> {
        let deadline = Instant::now() + limits.deadline;
        let opened = timeout_at(deadline, self.follow_redirects(url, limits)).await;
        let (url, response) = opened.unwrap_or(Err(FetchError::TimedOut))?;
        let (parts, body) = response.into_parts();
        let pieces = stream::try_unfold((body, limits.max_body), move |(mut body, left)| async move {
            loop {
                let frame = timeout_at(deadline, body.frame()).await.map_err(|_| FetchError::TimedOut)?;
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| FetchError::Body(error.to_string()))?;
                if let Ok(piece) = frame.into_data() {
                    let left = left.checked_sub(piece.len()).ok_or(FetchError::TooLarge)?;
                    return Ok(Some((piece, (body, left))));
                }
            }
        });
        Ok(OpenedUrl { url, status: parts.status, headers: parts.headers, pieces: pieces.boxed() })
    }

    async fn follow(&self, url: Url, limits: Limits) -> Result<Fetched, FetchError> {
        let (url, response) = self.follow_redirects(url, limits).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limits.max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Body(error.to_string())
            }
        })?;
        Ok(Fetched { url, status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    async fn follow_redirects(
        &self,
        mut url: Url,
        limits: Limits,
    ) -> Result<(Url, Response<Incoming>), FetchError> {
        for _ in 0..=limits.max_redirects {
            let response = self.client.request(self.request(&url, limits)?).await?;
            match redirect(&url, response.status(), response.headers())? {
                Some(next) => url = next,
                None => return Ok((url, response)),
            }
        }
        Err(FetchError::Redirects)
    }

    fn request(&self, url: &Url, limits: Limits) -> Result<Request<Empty<Bytes>>, FetchError> {
        match url.scheme() {
            "https" => {}
            "http" if !limits.https_only => {}
            _ => return Err(FetchError::Url("it has another scheme")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Url("it has a user"));
        }
        let (host, authority) = (url.host_str(), url.authority());
        if host.is_none_or(str::is_empty) {
            return Err(FetchError::Url("it has no host"));
        }
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let uri = Uri::builder().scheme(url.scheme()).authority(authority).path_and_query(path).build();
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri.map_err(|_| FetchError::Url("it is malformed"))?)
            .header(header::USER_AGENT, self.agent.clone());
        request.body(Empty::new()).map_err(|_| FetchError::Url("it is malformed"))
    }
}

/// Where an answer sends us.
fn redirect(url: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Option<Url>, FetchError> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(header::LOCATION) else { return Ok(None) };
    let location = location.to_str().ok().and_then(|location| url.join(location).ok());
    location.map(Some).ok_or(FetchError::Url("it leads to what is no URL"))
}

/// Connects to the hosts of URLs.
#[derive(Clone)]
struct UrlConnector {
    dialer: Dialer,
}

impl tower::Service<Uri> for UrlConnector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let secure = uri.scheme_str() != Some("http");
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let addresses = dialer.resolve(host).await?;
            let addresses: Vec<SocketAddr> =
                addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
            let stream = dialer.connect(&addresses).await?;
            if !secure {
                return Ok(Wire::new(stream, false));
            }
            let (stream, is_h2) = dialer.secure(stream, host).await?;
            Ok(Wire::new(stream, is_h2))
        })
    }
}
