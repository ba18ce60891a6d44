//! A heavy client that means well: an account in a thousand rooms, which reads much and asks for much at once.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::neighbours::Session;
use crate::{server::Target, wire::encoded};

/// Where the client is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
/// Rooms that are made at once.
const AT_ONCE: usize = 8;
/// Pages that are read in a row, and events of one.
const PAGES: usize = 100;
const PAGE: usize = 10;
/// Requests at once after the login.
const BURST: usize = 50;

/// Makes the account, with limits off: it has come by its rooms in years. Writes what is needed to go on.
pub(crate) async fn prepare(target: &Target, rooms: usize, file: &Path) -> Result<()> {
    let session = Session::register(target, ADDRESS, "heavy").await?;
    let made = futures::stream::iter(0..rooms).map(|_| session.creates_room());
    let made: Vec<String> = made.buffer_unordered(AT_ONCE).try_collect().await?;
    let long = made.first().context("there has to be a room")?;
    let said = futures::stream::iter(0..PAGES * PAGE).map(|number| {
        let path = format!("/rooms/{}/send/m.room.message/t{number}", encoded(long));
        let session = &session;
        async move {
            let body = json!({ "msgtype": "m.text", "body": format!("message {number}") });
            session.call(Method::PUT, &path, Some(&body)).await
        }
    });
    said.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let name = format!("heavy-{}", target.run);
    let account = json!({ "user": name, "password": format!("the horse of {name}"), "rooms": made });
    Ok(fs::write(file, account.to_string())?)
}

/// Whether the account, with limits on, is never told to wait; and what it took.
pub(crate) async fn measure(target: &Target, file: &Path) -> Result<bool> {
    let account: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let text = |key: &str| account[key].as_str().with_context(|| format!("no {key}"));
    let rooms: Vec<&str> =
        account["rooms"].as_array().context("no rooms")?.iter().filter_map(Value::as_str).collect();
    let session = Session::log_in(target, ADDRESS, text("user")?, text("password")?).await?;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();

    let began = Instant::now();
    let burst = burst(&session, &rooms);
    let answers = burst.into_iter().map(|path| {
        let session = &session;
        async move { session.ask(Method::GET, &path, None).await.map_or(0, |(status, _)| status) }
    });
    let at_once = answers.len();
    for status in futures::future::join_all(answers).await {
        *statuses.entry(status).or_default() += 1;
    }
    let burst_time = began.elapsed();

    let began = Instant::now();
    let long = encoded(rooms.first().context("no rooms")?);
    let (mut from, mut pages) = (String::new(), 0);
    while pages < PAGES {
        let path = format!("/rooms/{long}/messages?dir=b&limit={PAGE}{from}");
        let (status, body) = session.ask(Method::GET, &path, None).await?;
        *statuses.entry(status).or_default() += 1;
        pages += 1;
        let page: Value = serde_json::from_str(&body)?;
        let Some(end) = page["end"].as_str() else { break };
        from = format!("&from={}", encoded(end));
    }
    let pages_time: Duration = began.elapsed();
    let told_to_wait = statuses.get(&429).copied().unwrap_or(0);
    outln!(
        "figures: {} rooms; {at_once} requests at once after login in {:.1} s; {pages} pages in a row in {:.1} s; {told_to_wait} × 429, statuses {statuses:?}",
        rooms.len(),
        burst_time.as_secs_f64(),
        pages_time.as_secs_f64(),
    );
    Ok(pages == PAGES && statuses.keys().all(|status| *status == 200))
}

/// What a client asks for as soon as it is logged in.
fn burst(session: &Session, rooms: &[&str]) -> Vec<String> {
    let mut burst = vec![
        "/sync?timeout=0".to_owned(),
        "/pushrules/".to_owned(),
        "/capabilities".to_owned(),
        "/joined_rooms".to_owned(),
        "/devices".to_owned(),
        "/account/whoami".to_owned(),
        "/notifications".to_owned(),
        format!("/profile/{}", encoded(&session.user_id)),
        "/publicRooms?limit=20".to_owned(),
    ];
    let ways = ["members", "state", "messages?dir=b&limit=20"];
    let of_rooms = rooms.iter().flat_map(|room| ways.map(|way| format!("/rooms/{}/{way}", encoded(room))));
    burst.extend(of_rooms.take(BURST - burst.len()));
    burst
}
