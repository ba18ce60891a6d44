use std::convert::Infallible;

use axum::{Router, body::to_bytes};
use bytes::Bytes;
use http::StatusCode;
use plexus_service::RpcChannel;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;
use crate::{Endpoint, JsonObject, Routes, get, post};

fn edge(http: serde_json::Value) -> Edge {
    let config = json!({ "server": { "name": "test" }, "http": http });
    let config: Config = serde_json::from_value(config).unwrap();
    let nobody = RpcChannel::in_process(tonic::service::Routes::default());
    Edge::new(&config, Authenticator::new(nobody))
}

fn router(edge: &Edge, endpoint: Endpoint<()>) -> Router {
    Routes::new(edge.clone()).route("/", endpoint).with_state(())
}

/// A body whose chunks come one by one, and which has no end unless it is closed.
fn chunked() -> (tokio::sync::mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let chunks = futures::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| chunk.map(Ok::<_, Infallible>))
    });
    (sender, Body::from_stream(chunks))
}

async fn accept(_: JsonObject) {}

async fn status(router: Router, body: Body) -> StatusCode {
    router.oneshot(Request::post("/").body(body).unwrap()).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn unfinished_bodies_have_a_budget() {
    let edge = edge(json!({ "body_bytes": 1_000_000, "body_bytes_per_user": 1_000_000 }));
    let router = router(&edge, post(Policy::secret(), accept));
    let mut streams = Vec::new();
    for _ in 0..300 {
        let (sender, body) = chunked();
        sender.send(Bytes::from(vec![b' '; 10_000])).unwrap();
        streams.push((sender, tokio::spawn(status(router.clone(), body))));
    }
    // Each of them runs until it waits for more, or is refused.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let (bodies, _) = edge.bytes_under_way();
    assert!((990_000..=1_000_000).contains(&bodies), "{bodies}");
    let mut answers = Vec::new();
    for (sender, task) in streams {
        // Those that are under way are cut when their time is over; the others were refused at once.
        answers.push(task.await.unwrap());
        drop(sender);
    }
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(
        (
            count(StatusCode::REQUEST_TIMEOUT),
            count(StatusCode::TOO_MANY_REQUESTS) + count(StatusCode::SERVICE_UNAVAILABLE)
        ),
        (100, 200)
    );
    assert_eq!(edge.bytes_under_way(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_are_cut_and_those_that_come_on_are_not() {
    let edge = edge(json!({}));
    let router = router(&edge, post(Policy::secret().body(1 << 20), accept));
    for (chunk, expected) in [(100, StatusCode::REQUEST_TIMEOUT), (16 * 1024, StatusCode::OK)] {
        let (sender, body) = chunked();
        tokio::spawn(async move {
            sender.send(Bytes::from_static(b"{")).ok();
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                sender.send(Bytes::from(vec![b' '; chunk])).ok();
            }
            sender.send(Bytes::from_static(b"}")).ok();
        });
        assert_eq!(status(router.clone(), body).await, expected, "{chunk} bytes at a time");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_before_its_body_is_read() {
    let edge = edge(json!({}));
    let limit = usize::try_from(plexus_service::config::RateLimitsConfig::default().login.burst).unwrap();
    let router =
        router(&edge, post(Policy::login(), accept).put(Policy::change(crate::UserLimit::Other), accept));
    for _ in 0..limit {
        assert_eq!(status(router.clone(), Body::from("{}")).await, StatusCode::OK);
    }
    // This body never comes, and nobody waits for it.
    let (_sender, body) = chunked();
    assert_eq!(status(router.clone(), body).await, StatusCode::TOO_MANY_REQUESTS);
    let (_sender, body) = chunked();
    let response = router.oneshot(Request::put("/").body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn bodies_of_strangers_are_small() {
    let edge = edge(json!({}));
    let routes = router(&edge, post(Policy::login(), accept));
    let body = |length: usize| Body::from(format!("{{{}}}", " ".repeat(length - 2)));
    assert_eq!(status(routes.clone(), body(16 * 1024)).await, StatusCode::OK);
    assert_eq!(status(routes, body(16 * 1024 + 1)).await, StatusCode::PAYLOAD_TOO_LARGE);
    let large = router(&edge, post(Policy::secret().body(1 << 20), accept));
    assert_eq!(status(large, body(1 << 20)).await, StatusCode::OK);
}

#[tokio::test]
async fn answers_have_a_budget_while_they_are_handed_out() {
    let edge = edge(json!({ "answer_bytes": 3_000, "answer_bytes_per_user": 150_000 }));
    let router = router(&edge, get(Policy::open(1), || async { vec![b'x'; 100_000] }));
    let ask = || router.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
    // One alone may be larger than the budget.
    let first = ask().await.unwrap();
    assert_eq!((first.status(), edge.bytes_under_way().1), (StatusCode::OK, 100_000));
    let second = ask().await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    let refusal = to_bytes(second.into_body(), 1 << 20).await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&refusal).unwrap()["retry_after_ms"], 1_000);
    assert_eq!(to_bytes(first.into_body(), 1 << 20).await.unwrap().len(), 100_000);
    assert_eq!(edge.bytes_under_way().1, 0);
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn reads_without_a_token_are_counted_by_address_and_cost() {
    let config = json!({
        "server": { "name": "test" }, "rate_limits": { "open_read": { "per_second": 0.001, "burst": 10 } },
    });
    let nobody = RpcChannel::in_process(tonic::service::Routes::default());
    let edge = Edge::new(&serde_json::from_value(config).unwrap(), Authenticator::new(nobody));
    let router = router(&edge, get(Policy::open(5), || async {}));
    let ask = async |address: &str, token: bool| {
        let address = Client { address: format!("{address}:1").parse().unwrap(), held: None };
        let mut request = Request::get("/").extension(address);
        if token {
            request = request.header("authorization", "Bearer wrong");
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    assert_eq!(ask("192.0.2.1", false).await, StatusCode::OK);
    // A wrong token is as good as none.
    assert_eq!(ask("192.0.2.1", true).await, StatusCode::OK);
    assert_eq!(ask("192.0.2.1", false).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask("192.0.2.2", false).await, StatusCode::OK);
}

#[tokio::test]
async fn bodies_of_changes_count_by_their_bytes() {
    let config = json!({
        "server": { "name": "test" }, "rate_limits": { "written": { "per_second": 0.001, "burst": 30 } },
    });
    let nobody = RpcChannel::in_process(tonic::service::Routes::default());
    let edge = Edge::new(&serde_json::from_value(config).unwrap(), Authenticator::new(nobody));
    let read = async |writer: Option<&ruma::UserId>, length: usize| {
        let hold = BodyHold { edge: edge.clone(), holder: 1, held: None, bytes: AtomicUsize::new(0) };
        let timeout = Duration::from_secs(30);
        let intake =
            Intake { max: 1 << 20, timeout, writer: writer.map(ToOwned::to_owned), hold: Arc::new(hold) };
        let mut extensions = http::Extensions::new();
        extensions.insert(intake);
        crate::body::read(&mut extensions, Body::from(vec![b' '; length])).await.map(drop)
    };
    let (alice, bob) = (ruma::user_id!("@alice:test"), ruma::user_id!("@bob:test"));
    read(Some(alice), 20 * 1024).await.unwrap();
    assert!(read(Some(alice), 20 * 1024).await.unwrap_err().is("M_LIMIT_EXCEEDED"));
    // Small ones count, too.
    for _ in 0..9 {
        read(Some(alice), 10).await.unwrap();
    }
    assert!(read(Some(alice), 10).await.unwrap_err().is("M_LIMIT_EXCEEDED"));
    read(Some(bob), 20 * 1024).await.unwrap();
    // The body of a read is not kept.
    read(None, 200 * 1024).await.unwrap();
}
