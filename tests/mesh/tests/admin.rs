//! What operators do by `plexus-admin`: they read rooms and accounts as text, and change accounts.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use plexus_testkit::{
    actor::{User, anonymous},
    server::{Services, binary},
};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

/// `plexus-admin` with the configuration of a server.
fn command(services: &Services, arguments: &[&str]) -> Result<Command> {
    let config: PathBuf = services.folder().join("standalone.toml");
    let mut command = Command::new(binary("plexus-admin")?);
    command.env("PLEXUS_CONFIG", config).args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// What it prints; no secret is ever among it.
async fn admin(services: &Services, arguments: &[&str]) -> Result<String> {
    let output = command(services, arguments)?.output().await?;
    let (text, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "plexus-admin {arguments:?}: {errors}");
    ensure!(!text.contains("$argon2") && !errors.contains("$argon2"), "it prints a password hash: {text}");
    Ok(text)
}

async fn log_in(services: &Services, user: &User, password: &str) -> Result<StatusCode> {
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user.id },
        "password": password,
    });
    Ok(anonymous(&services.homeserver, Method::POST, "/_matrix/client/v3/login", Some(&body)).await?.status)
}

async fn whoami(user: &User) -> Result<StatusCode> {
    Ok(user.call(Method::GET, "/account/whoami", None).await?.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_read_rooms_as_text() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let services = &stage.services;
    let alice = User::register(&services.homeserver, "alice").await?;
    let bob = User::register(&services.homeserver, "bob").await?;
    let room = alice.create_room(&json!({ "preset": "public_chat", "name": "Tea" })).await?;
    let said = alice.send(&room, "green or black?").await?;
    bob.join(&room).await?.ok()?;

    let timeline = admin(services, &["room", "timeline", &room]).await?;
    ensure!(timeline.contains("green or black?") && timeline.contains(&said), "{timeline}");
    let page = admin(services, &["room", "timeline", &room, "--forward", "--limit", "2"]).await?;
    ensure!(page.contains("m.room.create") && page.contains("--from "), "{page}");
    let from = page.rsplit(' ').next().context("no position")?.trim();
    let rest = admin(services, &["room", "timeline", &room, "--forward", "--from", from]).await?;
    ensure!(!rest.contains("m.room.create") && rest.contains(&said), "{rest}");

    let event = admin(services, &["event", &said]).await?;
    ensure!(event.contains("\"body\": \"green or black?\"") && event.contains(&room), "{event}");
    let state = admin(services, &["room", "state", &room, "--type", "m.room.name"]).await?;
    ensure!(state.contains("\"Tea\"") && !state.contains("m.room.create"), "{state}");

    let members = admin(services, &["room", "members", &room, "--membership", "join"]).await?;
    ensure!(members.contains(&alice.id) && members.contains(&bob.id), "{members}");
    let then = admin(services, &["room", "members", &room, "--after", &said]).await?;
    ensure!(then.contains(&alice.id) && !then.contains(&bob.id), "Bob was not there yet: {then}");

    let missing = command(services, &["room", "state", "!no:plexus.test"])?.output().await?;
    ensure!(!missing.status.success(), "a room that does not exist has a state");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    for arguments in [&["partitions"][..], &["user", "list"][..]] {
        let mut child =
            command(&stage.services, arguments)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // As `| head` does, but before the first line.
        drop(child.stdout.take());
        let output = child.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(errors.is_empty() && output.status.code() == Some(141), "{arguments:?}: {output:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_accounts() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let services = &stage.services;
    let alice = User::register(&services.homeserver, "alice").await?;
    let bob = User::register(&services.homeserver, "bob").await?;
    let room = alice.create_room(&json!({ "preset": "public_chat" })).await?;
    bob.join(&room).await?.ok()?;

    let list = admin(services, &["user", "list"]).await?;
    ensure!(list.contains(&alice.id) && list.contains(&bob.id), "{list}");
    let show = admin(services, &["user", "show", &bob.id]).await?;
    ensure!(show.contains("password: yes\nsessions: 1\n") && show.contains(&room), "{show}");
    let sessions = admin(services, &["user", "sessions", &bob.id]).await?;
    ensure!(sessions.contains(&bob.device) && !sessions.contains(&bob.token), "{sessions}");

    let name = bob.id.trim_start_matches('@').split(':').next().context("no name")?;
    let reset = admin(services, &["user", "reset-password", name]).await?;
    let password = reset.trim().rsplit(' ').next().context("no password")?;
    ensure!(whoami(&bob).await? == StatusCode::UNAUTHORIZED, "the session goes on");
    ensure!(
        log_in(services, &bob, "correct horse battery staple").await? == StatusCode::FORBIDDEN,
        "old password"
    );
    ensure!(log_in(services, &bob, password).await? == StatusCode::OK, "the new password does not work");

    let unsure = command(services, &["user", "deactivate", &bob.id])?.output().await?;
    ensure!(!unsure.status.success(), "an account is deactivated by mistake");
    ensure!(
        log_in(services, &bob, password).await? == StatusCode::OK,
        "an account is deactivated by mistake"
    );
    for _ in 0..2 {
        // A repeat is harmless.
        admin(services, &["user", "deactivate", &bob.id, "--yes"]).await?;
    }
    ensure!(
        log_in(services, &bob, password).await? == StatusCode::FORBIDDEN,
        "a deactivated account logs in"
    );
    let path = format!("/rooms/{}/joined_members", plexus_testkit::actor::escape(&room));
    let joined: Value = alice.call(Method::GET, &path, None).await?.ok()?;
    ensure!(joined["joined"].get(&bob.id).is_none(), "Bob is still there: {joined}");
    let show = admin(services, &["user", "show", &bob.id]).await?;
    ensure!(show.contains("deactivated") && show.contains("password: no\nsessions: 0\n"), "{show}");
    Ok(())
}
