//! Sessions that the client API and the syncs hold in memory end everywhere at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use plexus_testkit::actor::{Homeserver, User};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::Method;
use serde_json::json;

/// Sessions that begin and end.
const SESSIONS: usize = 60;
/// How long a logout may wait for a sync that does not answer.
const LEASE: Duration = Duration::from_secs(5);

/// A session that both syncs and the client API know.
async fn session(servers: [&Homeserver; 2]) -> Result<User> {
    let user = User::register(servers[0], "alice").await?;
    for server in servers {
        // Twice: the second request is answered from memory.
        for _ in 0..2 {
            user.at(server).sync(None, Duration::ZERO, "").await?.ok()?;
        }
    }
    Ok(user)
}

async fn is_over(user: &User, server: &Homeserver) -> Result<()> {
    let answer = user.at(server).sync(None, Duration::ZERO, "").await?;
    ensure!(
        answer.error() == (401, "M_UNKNOWN_TOKEN"),
        "the session of {} still answers: {answer:?}",
        user.id
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_answers_nowhere() -> Result<()> {
    let mut stage = Stage::start(Shape::Mesh(2)).await?;
    let here = stage.services.homeserver.clone();
    let there = stage.services.add_sync("sync-1").await?;
    for number in 0..SESSIONS {
        let user = session([&here, &there]).await?;
        let (path, body) = if number % 2 == 0 { ("/logout", json!({})) } else { ("/logout/all", json!({})) };
        user.call(Method::POST, path, Some(&body)).await?.ok()?;
        let (first, second) = tokio::join!(is_over(&user, &here), is_over(&user, &there));
        first?;
        second?;
        let answer = user.call(Method::GET, "/account/whoami", None).await?;
        ensure!(answer.error() == (401, "M_UNKNOWN_TOKEN"), "{answer:?}");
    }

    // One of them stands still: a logout waits until it can hold nothing any more, and no longer.
    let user = session([&here, &there]).await?;
    stage.services.process("sync-1")?.signal("STOP").await?;
    let asked = Instant::now();
    user.call(Method::POST, "/logout", Some(&json!({}))).await?.ok()?;
    let waited = asked.elapsed();
    ensure!(waited < LEASE + Duration::from_secs(2), "the logout took {waited:?}");
    is_over(&user, &here).await?;
    stage.services.process("sync-1")?.signal("CONT").await?;
    is_over(&user, &there).await?;
    println!("{SESSIONS} sessions ended everywhere; with a sync that stood still after {waited:?}");
    Ok(())
}
