//! The proxy between the tests and the server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, HeaderValue, Request, Response, StatusCode, header},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Mutant,
    change::{Change, text},
};
use crate::server::Target;

/// A body larger than this is no test's.
const MOST_BYTES: usize = 16 << 20;

/// A proxy; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    url: String,
    changed: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Clone)]
struct Behind {
    url: Arc<str>,
    http: reqwest::Client,
    mutant: Arc<Mutant>,
    changed: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy on a port of its own.
    pub(crate) async fn start(target: &Target, mutant: Mutant) -> Result<Self> {
        let changed = Arc::new(AtomicUsize::new(0));
        let behind = Behind {
            url: target.url.as_str().into(),
            http: target.http.clone(),
            mutant: Arc::new(mutant),
            changed: Arc::clone(&changed),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(handle).with_state(behind);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                errln!("the proxy ended: {error}");
            }
        });
        Ok(Self { url, changed, task })
    }

    /// The server as it is seen through the proxy.
    pub(crate) fn target(&self, target: &Target) -> Target {
        Target { url: self.url.clone(), ..target.clone() }
    }

    /// How often something was changed.
    pub(crate) fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }
}

async fn handle(State(behind): State<Behind>, request: Request<Body>) -> Response<Body> {
    forward(&behind, request).await.unwrap_or_else(|error| {
        // Not a status of servers, so that nobody takes it for theirs.
        answer(StatusCode::BAD_GATEWAY, format!("{error:#}").into())
    })
}

fn answer(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn forward(behind: &Behind, request: Request<Body>) -> Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let mut body = axum::body::to_bytes(body, MOST_BYTES).await?;
    let mut target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let concerned = behind.mutant.concerns(parts.method.as_str(), &target);
    let count = || behind.changed.fetch_add(1, Ordering::Relaxed);
    let change = &behind.mutant.change;
    if concerned {
        match *change {
            Change::Lose(with) => {
                count();
                return Ok(answer(StatusCode::OK, with.into()));
            }
            Change::LoseConfirmed(with) if json(&body)["auth"].is_object() => {
                count();
                return Ok(answer(StatusCode::OK, with.into()));
            }
            Change::Ignore(name) => {
                if let Some(without) = without_query(&target, name) {
                    count();
                    target = without;
                }
            }
            Change::IgnoreField(name) => {
                let mut value = json(&body);
                if value.as_object_mut().is_some_and(|fields| fields.remove(name).is_some()) {
                    count();
                    body = value.to_string().into();
                }
            }
            Change::SetField(name, to) => {
                let mut value = json(&body);
                if let Some(field) = value.get_mut(name) {
                    *field = text(to);
                    count();
                    body = value.to_string().into();
                }
            }
            Change::Fail(text) if has(&body, text) => {
                count();
                return Ok(failure());
            }
            Change::Repeat => target = other_transaction(&target, count()),
            _ => {}
        }
    }
    let mut onward = behind.http.request(parts.method, format!("{}{target}", behind.url)).body(body);
    for (name, value) in &parts.headers {
        if ![header::HOST, header::CONTENT_LENGTH, header::CONNECTION].contains(name) {
            onward = onward.header(name, value);
        }
    }
    let response = onward.send().await?;
    let mut status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut bytes = response.bytes().await?;
    if let Change::Fail(text) = *change
        && concerned
        && has(&bytes, text)
    {
        count();
        return Ok(failure());
    }
    if concerned {
        let mut value = json(&bytes);
        if change.answer(&mut status, &mut value) {
            count();
            bytes = value.to_string().into();
        }
    }
    let mut response = answer(StatusCode::from_u16(status)?, bytes);
    for (name, value) in &headers {
        if ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Change::DropHeader(name) = *change
        && concerned
        && response.headers_mut().remove(HeaderName::from_static(name)).is_some()
    {
        count();
    }
    Ok(response)
}

fn failure() -> Response<Body> {
    answer(StatusCode::INTERNAL_SERVER_ERROR, r#"{"errcode":"M_UNKNOWN"}"#.into())
}

fn has(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// The target without a part of its query, if it has that part.
fn without_query(target: &str, name: &str) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let is_it = |part: &&str| part.split('=').next() == Some(name);
    let kept: Vec<_> = query.split('&').filter(|part| !is_it(part)).collect();
    (kept.len() < query.split('&').count()).then(|| format!("{path}?{}", kept.join("&")))
}

/// The target with another transaction ID, which is the last part of the path.
fn other_transaction(target: &str, number: usize) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{path}-{number}?{query}"),
        None => format!("{target}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_query_is_left_out() {
        assert_eq!(without_query("/sync?a=1&since=2&b=3", "since").as_deref(), Some("/sync?a=1&b=3"));
        assert_eq!(without_query("/sync?a=1", "since"), None);
        assert_eq!(without_query("/sync", "since"), None);
    }
}
