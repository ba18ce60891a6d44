//! URL previews: what a page says of itself, for users who are shown a link.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url)

mod page;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use moka::future::Cache;
use plexus_matrix_http::{Buckets, MatrixError};
use plexus_outbound::{ConnectError, FetchError, Fetched, Fetcher, Limits, OpenedUrl};
use plexus_proto::log::v1::StoredBlob;
use plexus_s2s::now_ms;
use ruma::UserId;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    Media,
    id::{MediaUri, new_media_id},
    receive::failed,
    rows::{self, DAY_MS},
    thumbnail::dimensions,
};

/// A page: how long it may take, how much of it is fetched, and where it may send us.
const PAGE: Limits =
    Limits { deadline: Duration::from_secs(10), max_body: 10 << 20, max_redirects: 3, https_only: false };
/// How much of a page is read: what it says of itself stands at its beginning.
const MAX_HTML: usize = 512 * 1024;
/// How long images of previews are kept.
const LIFETIME_MS: i64 = 30 * DAY_MS;
/// How long a preview is told again, and how many are remembered.
const REMEMBER: Duration = Duration::from_secs(3_600);
const REMEMBERED: u64 = 2_000;
/// Longest URL, and longest text that is told.
const MAX_URL: usize = 4_096;
const MAX_TEXT: usize = 2_000;
/// Pages that are fetched at a time.
const AT_ONCE: usize = 20;

/// Makes previews. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Previews {
    fetcher: Fetcher,
    rate: Arc<Buckets>,
    turns: Arc<Semaphore>,
    made: Cache<Url, Arc<Map<String, Value>>>,
}

impl Previews {
    pub(crate) fn new(fetcher: Fetcher, rate: Buckets) -> Self {
        let made = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBER).build();
        Self { fetcher, rate: Arc::new(rate), turns: Arc::new(Semaphore::new(AT_ONCE)), made }
    }
}

/// Makes the preview of a page.
pub(crate) async fn preview(
    media: &Media,
    previews: &Previews,
    user: &UserId,
    url: &str,
) -> Result<Value, MatrixError> {
    let url = Url::parse(url).ok().filter(|parsed| url.len() <= MAX_URL && parsed.has_host());
    let mut url = url.ok_or_else(|| MatrixError::invalid_param("`url` is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(MatrixError::invalid_param("Only `http` and `https` are shown"));
    }
    url.set_fragment(None);
    previews.rate.take(user.as_str(), 1).map_err(MatrixError::limit_exceeded)?;
    let made = previews.made.try_get_with(url.clone(), make(media, previews, url)).await;
    let made = made.map_err(|error| (*error).clone())?;
    Ok(Value::Object((*made).clone()))
}

async fn make(media: &Media, previews: &Previews, url: Url) -> Result<Arc<Map<String, Value>>, MatrixError> {
    let _turn = previews.turns.acquire().await.map_err(|_| MatrixError::busy())?;
    let opened = previews.fetcher.open(url, PAGE).await.map_err(|error| unreachable(&error))?;
    if !opened.status.is_success() {
        return Err(bad_gateway(&format!("The page answered {}", opened.status)));
    }
    let essence = essence(&opened.headers);
    let mut told = BTreeMap::new();
    if essence.starts_with("image/") {
        let image = read(opened, PAGE.max_body).await?;
        add_image(media, &image, &mut told).await?;
        return Ok(Arc::new(told.into_iter().collect()));
    }
    if essence != "text/html" && essence != "application/xhtml+xml" {
        return Ok(Arc::default());
    }
    let page = read(opened, MAX_HTML).await?;
    let read =
        page::read(&page.body, page.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()));
    for (name, text) in read {
        told.insert(name, Value::from(text.chars().take(MAX_TEXT).collect::<String>()));
    }
    told.entry("og:url".to_owned()).or_insert_with(|| Value::from(page.url.as_str()));
    let image = told.remove("og:image").and_then(|image| page.url.join(image.as_str()?).ok());
    if let Some(image) = image.filter(|image| matches!(image.scheme(), "http" | "https"))
        && let Ok(image) = previews.fetcher.get(image, PAGE).await
        && image.status == StatusCode::OK
    {
        // A page without its picture is a page.
        add_image(media, &image, &mut told).await?;
    }
    Ok(Arc::new(told.into_iter().collect()))
}

/// Reads the beginning of an answer.
async fn read(opened: OpenedUrl, max: usize) -> Result<Fetched, MatrixError> {
    let OpenedUrl { url, status, headers, mut pieces } = opened;
    let mut body = Vec::new();
    while body.len() < max {
        let Some(piece) = pieces.next().await else { break };
        let piece = piece.map_err(|error| unreachable(&error))?;
        body.extend_from_slice(&piece[..piece.len().min(max - body.len())]);
    }
    Ok(Fetched { url, status, headers, body: body.into() })
}

/// Stores an image, for a while, and tells it.
async fn add_image(
    media: &Media,
    image: &Fetched,
    told: &mut BTreeMap<String, Value>,
) -> Result<(), MatrixError> {
    let Some((width, height, content_type)) = dimensions(&image.body) else { return Ok(()) };
    let stored = media.store.put(image.body.clone()).await.map_err(|error| failed(&error))?;
    let uri = MediaUri { server_name: media.name.clone(), media_id: new_media_id() };
    let blob: StoredBlob = rows::blob(stored, content_type.to_owned(), String::new());
    media.rows.commit_own(&uri, blob, now_ms() + LIFETIME_MS).await?;
    told.insert("og:image".to_owned(), json!(uri.to_string()));
    told.insert("og:image:type".to_owned(), json!(content_type));
    told.insert("og:image:width".to_owned(), json!(width));
    told.insert("og:image:height".to_owned(), json!(height));
    told.insert("matrix:image:size".to_owned(), json!(stored.size));
    Ok(())
}

fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn unreachable(error: &FetchError) -> MatrixError {
    match error.connect() {
        Some(ConnectError::Refused(_)) => {
            MatrixError::forbidden("The URL leads where this server may not go")
        }
        Some(_) | None => bad_gateway("The page cannot be had"),
    }
}

fn bad_gateway(message: &str) -> MatrixError {
    MatrixError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message.to_owned())
}
