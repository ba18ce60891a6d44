use axum::{Extension, routing::get};

use super::*;

fn loopback() -> Listener {
    Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)))
}

async fn text(url: String) -> Result<String, reqwest::Error> {
    reqwest::get(url).await?.text().await
}

#[tokio::test]
async fn handlers_see_the_address_of_the_client() {
    let shutdown = Shutdown::new();
    let router = Router::new()
        .route("/", get(|Extension(from): Extension<Client>| async move { from.address.ip().to_string() }));
    let address = serve("test", &loopback(), router.clone(), &shutdown).await.unwrap();
    assert_eq!(text(format!("http://{address}/")).await.unwrap(), "127.0.0.1");

    let trusting = Listener { trust_forwarded_for: true, ..loopback() };
    let address = serve("test", &trusting, router, &shutdown).await.unwrap();
    let request = reqwest::Client::new().get(format!("http://{address}/"));
    let response = request.header("x-forwarded-for", "10.0.0.1, 192.0.2.7").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "192.0.2.7");
    assert!(shutdown.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn requests_under_way_are_answered_on_shutdown() {
    let shutdown = Shutdown::new();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let release = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&release);
    let router = Router::new().route(
        "/",
        get(|| async move {
            begun.send(()).await.unwrap();
            waiting.notified().await;
            "late"
        }),
    );
    let address = serve("test", &loopback(), router, &shutdown).await.unwrap();
    let answer = tokio::spawn(text(format!("http://{address}/")));
    has_begun.recv().await.unwrap();
    shutdown.request();
    release.notify_one();
    assert_eq!(answer.await.unwrap().unwrap(), "late");
    assert!(shutdown.finish(Duration::from_secs(5)).await);
    assert!(text(format!("http://{address}/")).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let shutdown = Shutdown::new();
    let address = serve("test", &loopback(), Router::new(), &shutdown).await.unwrap();
    let error = serve("test", &Listener::at(address), Router::new(), &shutdown).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let shutdown = Shutdown::new();
    let narrow = Listener { max_connections: 1, ..loopback() };
    let router = Router::new().route("/", get(|| async { "here" }));
    let address = serve("test", &narrow, router, &shutdown).await.unwrap();
    let held = TcpStream::connect(address).await.unwrap();
    // The held connection has the only place, so this one is answered only once it is gone.
    let answer = tokio::spawn(text(format!("http://{address}/")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!answer.is_finished());
    drop(held);
    assert_eq!(answer.await.unwrap().unwrap(), "here");
}
