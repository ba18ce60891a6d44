//! Messages to devices against a ledger outside the server: whatever is killed, whichever sync a client asks, and however
//! often it loses an answer, each arrives once, in the order of its sender, and none stays behind.
//!
//! `PLEXUS_INBOX_MESSAGES` and `PLEXUS_INBOX_KILLS` make it longer.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use plexus_testkit::actor::{Answer, User, unique};
use plexus_tests_mesh::stage::{Shape, Stage};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Senders, and readers.
const SENDERS: usize = 4;
const READERS: usize = 3;
/// How long anything may take to go on again.
const PATIENCE: Duration = Duration::from_secs(60);

fn dose(name: &str, small: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_to_devices_arrive_once_whatever_is_killed() -> Result<()> {
    let (messages, kills) = (dose("PLEXUS_INBOX_MESSAGES", 1_200), dose("PLEXUS_INBOX_KILLS", 4));
    let mut stage = Stage::start(Shape::Mesh(1)).await?;
    let here = stage.services.homeserver.clone();
    let there = stage.services.add_sync("sync-1").await?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(User::register(&here, "reader").await?);
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let user = User::register(&here, "sender").await?;
        let (readers, sent) = (readers.clone(), Arc::clone(&sent));
        senders.spawn(async move { send_all(&user, sender, &readers, messages / SENDERS, &sent).await });
    }
    let each = messages / SENDERS * SENDERS;
    let mut clients = tokio::task::JoinSet::new();
    for (number, reader) in readers.iter().enumerate() {
        let at = [reader.at(&here), reader.at(&there)];
        clients.spawn(read_all(at, number, each));
    }
    for kill in 0..kills {
        while sent.load(Ordering::Relaxed) < each * (kill + 1) / (kills + 2) && !senders.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(ended) = senders.try_join_next() {
                ended??;
            }
        }
        let labels = ["roomserver-0", "sync", "clientapi", "sync-1"];
        let process = stage.services.process(labels[kill % labels.len()])?;
        process.kill().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        process.restart()?;
    }
    while let Some(ended) = senders.join_next().await {
        ended?.with_context(|| stage.services.last_words())?;
    }
    while let Some(ended) = clients.join_next().await {
        ended?.with_context(|| stage.services.last_words())?;
    }
    // All of it has been acknowledged: nothing stays.
    let end = Instant::now() + PATIENCE;
    loop {
        let left = stage.postgres.query("plexus", "SELECT count(*) FROM to_device").await?;
        if left == "0" {
            break;
        }
        ensure!(Instant::now() < end, "{left} messages stay");
        // An acknowledgement that was lost with its process is made when the client comes again.
        for reader in &readers {
            drain(&reader.at(&here)).await?;
        }
    }
    println!("{each} messages to each of {READERS} devices, {kills} kills");
    Ok(())
}

/// Sends numbered messages to all readers at once, each repeated until it is acknowledged.
async fn send_all(
    user: &User,
    sender: usize,
    readers: &[User],
    count: usize,
    sent: &AtomicUsize,
) -> Result<()> {
    for number in 0..count {
        let content = json!({ "sender": sender, "number": number });
        let to = readers.iter().map(|reader| (reader.id.clone(), json!({ &reader.device: content })));
        let body = json!({ "messages": to.collect::<serde_json::Map<_, _>>() });
        let path = format!("/sendToDevice/org.example.numbered/{}", unique("txn"));
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = user.call(Method::PUT, &path, Some(&body)).await;
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => break,
                Ok(answer) if answer.status.is_client_error() => anyhow::bail!("refused: {answer:?}"),
                Ok(_) | Err(_) => {}
            }
            ensure!(Instant::now() < end, "a message was not acknowledged in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Numbers by sender, of an answer.
fn told(answer: &Value) -> Result<Vec<(u64, u64)>> {
    let events = answer["to_device"]["events"].as_array().context("no messages")?;
    let number = |event: &Value, key: &str| event["content"][key].as_u64().context("no number");
    events.iter().map(|event| Ok((number(event, "sender")?, number(event, "number")?))).collect()
}

/// Reads until all messages are there, now from one sync and now from the other. Every third answer is lost on its way:
/// then the client asks with the same token again.
async fn read_all(at: [User; 2], number: usize, count: usize) -> Result<()> {
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut since: Option<String> = None;
    let mut got = 0;
    let mut end = Instant::now() + PATIENCE;
    for turn in number.. {
        ensure!(
            Instant::now() < end,
            "reader {number} has got {got} of {count}, and no more for long: {next:?}"
        );
        let user = &at[turn / 2 % 2];
        let answer = match user.sync(since.as_deref(), Duration::from_secs(1), "").await {
            Ok(answer) if answer.status.is_success() => answer.body,
            Ok(answer) if answer.status.is_client_error() => anyhow::bail!("sync was refused: {answer:?}"),
            Ok(_) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if turn % 3 == 0 {
            continue;
        }
        for (sender, number) in told(&answer)? {
            let wanted = next.entry(sender).or_default();
            ensure!(number == *wanted, "of {sender}, {number} came and not {wanted}");
            *wanted += 1;
            got += 1;
            end = Instant::now() + PATIENCE;
        }
        since = Some(answer["next_batch"].as_str().context("no next_batch")?.to_owned());
        if got == count {
            // Presents the last token, so that the last message is acknowledged.
            let last = user.sync(since.as_deref(), Duration::ZERO, "").await;
            if let Ok(last) = last.and_then(Answer::ok) {
                ensure!(told(&last)?.is_empty(), "more came than was sent");
            }
            return Ok(());
        }
    }
    Ok(())
}

/// Reads what waits and presents the token.
async fn drain(user: &User) -> Result<()> {
    let mut since: Option<String> = None;
    for _ in 0..2 {
        let answer = user.sync(since.as_deref(), Duration::ZERO, "").await?.ok()?;
        since = answer["next_batch"].as_str().map(str::to_owned);
    }
    Ok(())
}
