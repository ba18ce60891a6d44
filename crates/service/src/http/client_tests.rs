//! Tests the bounds that clients of a listener meet. Each test is an attack on a small scale.

use axum::{
    Extension,
    body::{Body, Bytes},
    routing::{get, post},
};
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn loopback() -> Listener {
    Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn quick() -> HttpConfig {
    HttpConfig {
        limit_loopback: true,
        connections_per_address: 1_000,
        new_connections_per_second: 1_000,
        first_byte_timeout_s: 1,
        head_timeout_s: 1,
        write_timeout_s: 1,
        idle_timeout_s: 2,
        ..HttpConfig::default()
    }
}

async fn start(listener: &Listener, http: &HttpConfig) -> (SocketAddr, Shutdown) {
    let shutdown = Shutdown::new();
    let large = Bytes::from(vec![b'x'; 64 * 1024 * 1024]);
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/large", get(|| async { large }))
        .route(
            "/body",
            post(|body: Body| async { axum::body::to_bytes(body, 1 << 20).await.is_ok().to_string() }),
        )
        .route(
            "/held",
            get(|Extension(client): Extension<Client>| async move {
                format!("{} {}", client.address.ip(), client.held.is_some())
            }),
        );
    let address = serve_clients("test", listener, http, router, &shutdown).await.unwrap();
    (address, shutdown)
}

/// Waits for the end of connections: the server's, however it comes.
async fn all_end(streams: Vec<TcpStream>) {
    let ends = streams.into_iter().map(|mut stream| async move {
        let mut nothing = [0; 1024];
        while let Ok(1..) = stream.read(&mut nothing).await {}
    });
    tokio::time::timeout(Duration::from_secs(20), join_all(ends)).await.expect("the server ends them");
}

#[tokio::test]
async fn three_hundred_silent_connections_end() {
    let (address, _shutdown) = start(&loopback(), &quick()).await;
    let mut streams = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap(),
            _ => stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap(),
        }
        streams.push(stream);
    }
    all_end(streams).await;
}

#[tokio::test]
async fn http_2_without_requests_ends() {
    let (address, _shutdown) = start(&loopback(), &quick()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = hyper::client::conn::http2::handshake::<_, _, Body>(
        hyper_util::rt::TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    // The client answers pings as long as it lives.
    tokio::time::timeout(Duration::from_secs(20), connection).await.expect("the server ends it").ok();
    drop(client);
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_cut() {
    let (address, _shutdown) = start(&loopback(), &quick()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    // Nothing is read for longer than the answer may stand still; then the rest is not there any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.ok();
    assert!(read.len() < 64 * 1024 * 1024, "{}", read.len());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_and_others_go_on() {
    let (address, _shutdown) = start(&loopback(), &quick()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::handshake::<_, _, Body>(
        hyper_util::rt::TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    let driver = tokio::spawn(connection);
    let request =
        |path: &str| http::Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap();
    let stuck = client.send_request(request("/large")).await.unwrap();
    for _ in 0..15 {
        client.ready().await.unwrap();
        assert_eq!(client.send_request(request("/")).await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let read = axum::body::to_bytes(Body::new(stuck.into_body()), usize::MAX).await;
    assert!(read.is_err(), "the stream has ended early");
    client.ready().await.unwrap();
    assert_eq!(client.send_request(request("/")).await.unwrap().status(), 200);
    driver.abort();
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let http = HttpConfig { connections_per_address: 5, ..quick() };
    let (address, _shutdown) = start(&loopback(), &http).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        assert_ne!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        held.push(stream);
    }
    let sixth = TcpStream::connect(address).await.unwrap();
    all_end(vec![sixth]).await;
    // Where nobody else is concerned, loopback has no limits.
    let (address, _shutdown) = start(&loopback(), &HttpConfig { limit_loopback: false, ..http }).await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        assert_ne!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        held.push(stream);
    }
}

#[tokio::test]
async fn a_trusted_proxy_brings_many_addresses() {
    let trusting = Listener { trust_forwarded_for: true, ..loopback() };
    let http = HttpConfig { connections_per_address: 1, ..quick() };
    let (address, _shutdown) = start(&trusting, &http).await;
    let mut held = Vec::new();
    for number in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /held HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 192.0.2.{number}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.ends_with(&format!("192.0.2.{number} true")), "{answer}");
        held.push(stream);
    }
}

#[tokio::test]
async fn an_http_2_connection_has_so_many_streams() {
    let shutdown = Shutdown::new();
    let (begun, mut begins) = tokio::sync::mpsc::channel(100);
    let release = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&release);
    let router = Router::new().route(
        "/",
        get(move || async move {
            begun.send(()).await.unwrap();
            drop(gate.acquire().await.unwrap());
        }),
    );
    let http = HttpConfig { streams_per_connection: 10, ..quick() };
    let address = serve_clients("test", &loopback(), &http, router, &shutdown).await.unwrap();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let send = |_| tokio::spawn(client.get(format!("http://{address}/")).send());
    // The first tells the client how many streams there may be.
    let first = send(0);
    begins.recv().await.unwrap();
    let requests: Vec<_> = (0..30).map(send).collect();
    for _ in 0..9 {
        begins.recv().await.unwrap();
    }
    assert!(begins.try_recv().is_err(), "there are ten at a time");
    release.add_permits(1);
    // One place is free, so one more begins.
    begins.recv().await.unwrap();
    release.add_permits(100);
    for request in requests.into_iter().chain([first]) {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
        while begins.try_recv().is_ok() {}
    }
}

#[test]
fn failures_to_accept_are_logged_at_times() {
    let mut failures = Failures::default();
    let error = std::io::Error::other("too many open files");
    let logged = (0..1_000).filter(|_| failures.log("test", &error)).count();
    assert_eq!((logged, failures.since), (1, 999));
}
