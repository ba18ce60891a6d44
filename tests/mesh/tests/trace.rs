//! One trace leads through all services, from the request of a client to whoever waits for what comes of it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use plexus_testkit::actor::User;
use plexus_tests_mesh::stage::{Shape, Stage};
use serde_json::{Value, json};
use tokio::time::Instant;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// How long the services may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the services say what they do.
fn raise_level(stage: &Stage) -> Result<()> {
    let level = ["sync", "roomserver", "matrix_http", "input"].map(|part| format!("plexus_{part}=debug"));
    for entry in fs::read_dir(stage.services.folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = fs::read_to_string(&path)?;
            fs::write(&path, format!("{config}[telemetry]\nlevel = \"info,{}\"\n", level.join(",")))?;
        }
    }
    Ok(())
}

/// Waits until a request waits for news.
async fn until_one_waits(stage: &Stage) -> Result<()> {
    let config = fs::read_to_string(stage.services.folder().join("sync.toml"))?;
    let (_, rest) =
        config.rsplit_once("admin_http = { address = \"").context("sync has no admin listener")?;
    let (address, _) = rest.split_once('"').context("no address")?;
    let end = Instant::now() + PATIENCE;
    loop {
        let metrics = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
        if metrics.lines().any(|line| line == "plexus_sync_waiting_requests 1") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "no request waits:\n{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_found_in_the_logs_of_all_services() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(1)).await?;
    stage.services.kill().await?;
    raise_level(&stage)?;
    stage.services.restart().await?;
    let server = stage.services.homeserver.clone();
    let (alice, bob) = (User::register(&server, "alice").await?, User::register(&server, "bob").await?);
    let room = alice.create_room(&json!({ "preset": "public_chat" })).await?;
    bob.join(&room).await?.ok()?;

    let told = |answer: &Value| answer["rooms"]["join"][&room]["timeline"]["events"].to_string();
    let mut answer = bob.sync(None, Duration::ZERO, "").await?.ok()?;
    // Until there is nothing left to tell, so that the next one waits.
    while !answer["rooms"]["join"].as_object().is_none_or(serde_json::Map::is_empty) {
        let since = answer["next_batch"].as_str().context("no token")?.to_owned();
        answer = bob.sync(Some(&since), Duration::ZERO, "").await?.ok()?;
    }
    let since = answer["next_batch"].as_str().context("no token")?.to_owned();
    let waiting = tokio::spawn({
        let bob = bob.clone();
        async move { bob.sync(Some(&since), PATIENCE, "").await?.ok() }
    });
    until_one_waits(&stage).await?;
    let send = format!("{}/_matrix/client/v3/rooms/{room}/send/m.room.message/traced", server.client);
    let sent = reqwest::Client::new()
        .put(send)
        .bearer_auth(&alice.token)
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .json(&json!({ "msgtype": "m.text", "body": "traced" }))
        .send()
        .await?;
    ensure!(sent.status().is_success(), "{}", sent.text().await?);
    let answer = waiting.await??;
    ensure!(told(&answer).contains("traced"), "the waiting request is answered with {answer}");

    for (service, what) in [
        ("clientapi", "input written"),
        ("clientapi", "request answered"),
        ("roomserver-0", "input decided"),
        ("sync", "record applied"),
        ("sync", "waiting request woken"),
    ] {
        let log = fs::read_to_string(stage.services.folder().join(format!("{service}.log")))?;
        let found = log.lines().any(|line| line.contains(TRACE) && line.contains(what));
        ensure!(found, "{service} does not say “{what}” of the trace:\n{}", stage.services.last_words());
    }
    Ok(())
}
