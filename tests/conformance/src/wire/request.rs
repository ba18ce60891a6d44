//! Making requests.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use reqwest::Method;
use serde_json::Value;

use super::{Answer, Exchange, Transcript, encoded};

/// Longer than any long poll of a test.
const TIMEOUT: Duration = Duration::from_secs(40);

/// How often a request is repeated that came too soon.
const PATIENCE: usize = 20;

/// Somebody who makes requests: a user with a token, or anybody.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    transcript: Transcript,
    /// What the transcript calls them.
    pub(crate) name: String,
    /// Access token.
    pub(crate) token: Option<String>,
}

/// The body of a request.
#[derive(Debug, Clone)]
enum Body {
    None,
    Json(Value),
    Raw(String),
    Bytes(Vec<u8>),
}

/// A request that is made when it is awaited.
#[must_use = "a request is made when it is awaited"]
#[derive(Debug, Clone)]
pub(crate) struct Request {
    client: Client,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Body,
}

/// A client for HTTP; connections are shared by its clones.
pub(crate) fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(TIMEOUT).tcp_nodelay(true).build()?)
}

impl Client {
    pub(crate) fn new(http: reqwest::Client, base: &str, transcript: Transcript, name: &str) -> Self {
        Self { http, base: base.to_owned(), transcript, name: name.to_owned(), token: None }
    }

    /// The same, with another token or none.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(ToOwned::to_owned), ..self.clone() }
    }

    /// A request; a path that does not begin with `/_` or `/.` is one below `/_matrix/client/v3`.
    pub(crate) fn request(&self, method: Method, path: impl Into<String>) -> Request {
        let mut path = path.into();
        if !path.starts_with("/_") && !path.starts_with("/.") {
            path.insert_str(0, "/_matrix/client/v3");
        }
        Request {
            client: self.clone(),
            method,
            path,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// `GET`
    pub(crate) fn get(&self, path: impl Into<String>) -> Request {
        self.request(Method::GET, path)
    }

    /// `PUT` with a body of JSON.
    pub(crate) fn put(&self, path: impl Into<String>, body: Value) -> Request {
        self.request(Method::PUT, path).json(body)
    }

    /// `POST` with a body of JSON.
    pub(crate) fn post(&self, path: impl Into<String>, body: Value) -> Request {
        self.request(Method::POST, path).json(body)
    }

    /// `DELETE`
    pub(crate) fn delete(&self, path: impl Into<String>) -> Request {
        self.request(Method::DELETE, path)
    }
}

impl Request {
    /// Adds to the query.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body.
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    /// Sets a field of the body.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        let mut body = match self.body {
            Body::Json(body) => body,
            Body::None | Body::Raw(_) | Body::Bytes(_) => Value::Object(serde_json::Map::new()),
        };
        body[field] = value;
        self.body = Body::Json(body);
        self
    }

    /// Sets the body to what need not be JSON.
    pub(crate) fn raw(mut self, body: &str) -> Self {
        self.body = Body::Raw(body.to_owned());
        self
    }

    /// Sets the body to bytes; their type is a header field.
    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    /// Adds a header field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the request; the answer may be any, also that the server failed.
    pub(crate) async fn attempt(self) -> Answer {
        self.send_any().await
    }

    /// Makes the request. A limit of its rate is kept to, as clients must: no test is about it.
    async fn send(self) -> Answer {
        for _ in 0..PATIENCE {
            let answer = self.clone().send_once().await;
            if answer.status != 429 {
                return answer;
            }
            let wait = answer.body["retry_after_ms"].as_u64().unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(wait.min(2000))).await;
        }
        self.send_once().await
    }

    async fn send_once(self) -> Answer {
        let answer = self.send_any().await;
        assert!(answer.status < 500, "a server must not fail, but {answer}");
        answer
    }

    async fn send_any(self) -> Answer {
        let mut url = format!("{}{}", self.client.base, self.path);
        let mut shown = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            let part = format!("{}{}={}", if index == 0 { '?' } else { '&' }, encoded(name), encoded(value));
            shown.push_str(&part);
            url.push_str(&part);
        }
        let mut request = self.client.http.request(self.method.clone(), &url);
        if let Some(token) = &self.client.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (request, sent) = match self.body {
            Body::None => (request, String::new()),
            Body::Json(value) => {
                let text = value.to_string();
                (request.header("content-type", "application/json").body(text.clone()), text)
            }
            Body::Bytes(bytes) => {
                let sent = format!("({} bytes)", bytes.len());
                (request.body(bytes), sent)
            }
            Body::Raw(text) => (request.header("content-type", "application/json").body(text.clone()), text),
        };
        let began = Instant::now();
        let result = async {
            let response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
        };
        let result = result.await;
        let mut exchange = Exchange {
            who: self.client.name,
            method: self.method.to_string(),
            path: shown.clone(),
            sent,
            status: 0,
            received: String::new(),
            took: began.elapsed(),
        };
        let answer = match result {
            Ok((status, headers, bytes)) => {
                exchange.status = status.as_u16();
                exchange.received = String::from_utf8_lossy(&bytes).into_owned();
                let headers = headers.iter().map(|(name, value)| {
                    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                });
                Answer {
                    request: format!("{} {shown}", self.method),
                    status: status.as_u16(),
                    headers: headers.collect(),
                    body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                    bytes: bytes.to_vec(),
                }
            }
            Err(error) => {
                exchange.received = format!("{error:#}");
                self.client.transcript.add(exchange);
                panic!("{} {shown} got no answer: {error:#}", self.method);
            }
        };
        self.client.transcript.add(exchange);
        answer
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = BoxFuture<'static, Answer>;

    fn into_future(self) -> Self::IntoFuture {
        self.send().boxed()
    }
}
