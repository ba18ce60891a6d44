//! What was acknowledged, kept outside the server, and the check that readers got it: all of it, once, in one order.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use plexus_testkit::actor::User;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// The messages of rooms, as (event ID, text), oldest first.
pub type Timelines = BTreeMap<String, Vec<(String, String)>>;

/// Longest that a sender repeats one transaction before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rooms with the same members in each.
pub struct Crowd {
    /// The members.
    pub users: Vec<User>,
    /// The rooms.
    pub rooms: Vec<String>,
}

impl Crowd {
    /// Registers users and joins all of them to new rooms.
    pub async fn gather(
        server: &plexus_testkit::actor::Homeserver,
        users: usize,
        rooms: usize,
    ) -> Result<Self> {
        let mut members = Vec::new();
        for _ in 0..users {
            members.push(User::register(server, "crowd").await?);
        }
        let first = members.first().context("a crowd needs somebody")?;
        let mut ids = Vec::new();
        for _ in 0..rooms {
            let room = first.create_room(&json!({ "preset": "public_chat" })).await?;
            for member in &members[1..] {
                member.join(&room).await?.ok()?;
            }
            ids.push(room);
        }
        Ok(Self { users: members, rooms: ids })
    }
}

/// Messages that were acknowledged: event ID and text, by room.
#[derive(Default)]
pub struct Ledger {
    acknowledged: Mutex<Vec<(String, String, String)>>,
    longest_send: Mutex<Duration>,
    /// Number of the next message: texts are unique over all calls.
    next: AtomicUsize,
}

impl Ledger {
    /// Number of acknowledged messages.
    pub async fn count(&self) -> usize {
        self.acknowledged.lock().await.len()
    }

    /// The longest time from the start of a send to its acknowledgement.
    pub async fn longest_send(&self) -> Duration {
        *self.longest_send.lock().await
    }

    async fn note(&self, room: &str, event_id: String, text: String, took: Duration) {
        self.acknowledged.lock().await.push((room.to_owned(), event_id, text));
        let mut longest = self.longest_send.lock().await;
        *longest = (*longest).max(took);
    }

    /// Sends `count` messages by all users at the same time, spread over all rooms; each send is repeated under its
    /// transaction ID until it is acknowledged, as clients do.
    pub async fn send_all(self: &Arc<Self>, crowd: &Crowd, count: usize) -> Result<()> {
        self.send_while(crowd, count, &Arc::new(AtomicBool::new(true))).await
    }

    /// Like [`Ledger::send_all`], until `count` messages are sent or `go_on` is false.
    pub async fn send_while(
        self: &Arc<Self>,
        crowd: &Crowd,
        count: usize,
        go_on: &Arc<AtomicBool>,
    ) -> Result<()> {
        let end = self.next.load(Ordering::Relaxed).saturating_add(count);
        let mut senders = tokio::task::JoinSet::new();
        for user in crowd.users.clone() {
            let (ledger, go_on) = (Arc::clone(self), Arc::clone(go_on));
            let rooms = crowd.rooms.clone();
            senders.spawn(async move {
                while go_on.load(Ordering::Relaxed) {
                    let take = |next| (next < end).then_some(next + 1);
                    let Ok(number) = ledger.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    else {
                        break;
                    };
                    let room = &rooms[number % rooms.len()];
                    let text = format!("message {number} of {}", user.id);
                    let start = Instant::now();
                    let event_id = user.send_surely(room, &text, PATIENCE).await?;
                    ledger.note(room, event_id, text, start.elapsed()).await;
                }
                anyhow::Ok(())
            });
        }
        while let Some(result) = senders.join_next().await {
            result??;
        }
        Ok(())
    }

    /// Checks one reader's timelines, oldest first, against what was acknowledged.
    pub async fn check(&self, who: &str, timelines: &Timelines) -> Result<()> {
        let acknowledged = self.acknowledged.lock().await;
        let mut texts: HashMap<&str, usize> = HashMap::new();
        let mut ids: HashSet<&str> = HashSet::new();
        for (event_id, text) in timelines.values().flatten() {
            *texts.entry(text).or_default() += 1;
            ensure!(ids.insert(event_id), "{who} was given {event_id} twice");
        }
        for (room, event_id, text) in acknowledged.iter() {
            ensure!(
                ids.contains(event_id.as_str()),
                "{who} never got {event_id} of {room}, which was acknowledged"
            );
            ensure!(
                texts.get(text.as_str()) == Some(&1),
                "{who} got {text:?} {:?} times",
                texts.get(text.as_str())
            );
        }
        Ok(())
    }
}

/// The messages of a timeline as (event ID, text), in the order given.
pub fn messages<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<(String, String)> {
    let text = |event: &Value, path: &str| event.pointer(path).and_then(Value::as_str).map(str::to_owned);
    events
        .into_iter()
        .filter(|event| event["type"] == "m.room.message")
        .filter_map(|event| Some((text(event, "/event_id")?, text(event, "/content/body")?)))
        .collect()
}

/// Reads all rooms by `/messages`, oldest first.
pub async fn read_by_messages(user: &User, rooms: &[String]) -> Result<Timelines> {
    let mut timelines = Timelines::new();
    for room in rooms {
        let mut events = user.all_messages(room).await?;
        events.reverse();
        timelines.insert(room.clone(), messages(&events));
    }
    Ok(timelines)
}

/// Follows `/sync` in the background, collecting the timelines.
pub struct Reader {
    task: tokio::task::JoinHandle<Result<Timelines>>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    /// Starts to follow, from now on.
    pub async fn follow(user: &User) -> Result<Self> {
        Self::follow_in_turn(vec![user.clone()]).await
    }

    /// Starts to follow, from now on, as one user with one session on several instances, which are asked in turn.
    pub async fn follow_in_turn(user_at: Vec<User>) -> Result<Self> {
        let user = user_at.first().context("a reader needs a server")?;
        let first = user.sync(None, Duration::ZERO, "").await?.ok()?;
        let since = first["next_batch"].as_str().context("no next_batch")?.to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(follow(user_at, since, Arc::clone(&stop)));
        Ok(Self { task, stop })
    }

    /// Follows until two syncs in a row bring nothing, then returns what came.
    pub async fn finish(self) -> Result<Timelines> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn follow(user_at: Vec<User>, mut since: String, stop: Arc<AtomicBool>) -> Result<Timelines> {
    let mut turns = user_at.iter().cycle();
    let mut timelines = Timelines::new();
    let mut quiet = 0;
    let mut failures = 0;
    while quiet < 2 {
        let user = turns.next().context("no server")?;
        // The filter's limit keeps timelines whole; where one is cut all the same, the gap is read by /messages.
        let filter = "&filter=%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A500%7D%7D%7D";
        let answer = match user.sync(Some(&since), Duration::from_secs(1), filter).await {
            Ok(answer) if answer.status.is_success() => answer.body,
            Ok(answer) if answer.status.is_client_error() => anyhow::bail!("sync was refused: {answer:?}"),
            Ok(_) | Err(_) => {
                failures += 1;
                ensure!(failures < 1200, "sync has failed for two minutes");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        failures = 0;
        let mut news = false;
        for (room, joined) in answer["rooms"]["join"].as_object().into_iter().flatten() {
            let timeline = &joined["timeline"];
            let events = timeline["events"].as_array().context("no events")?;
            let mut fresh = messages(events);
            if timeline["limited"] == true {
                let prev_batch = timeline["prev_batch"].as_str().context("limited without prev_batch")?;
                let known = timelines.get(room).and_then(|known| known.last()).map(|(id, _)| id.clone());
                let mut gap = fill_gap(user, room, prev_batch, &since, known.as_deref()).await?;
                gap.append(&mut fresh);
                fresh = gap;
            }
            news |= !fresh.is_empty();
            timelines.entry(room.clone()).or_default().append(&mut fresh);
        }
        since = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
        quiet = if news || !stop.load(Ordering::Relaxed) { 0 } else { quiet + 1 };
    }
    Ok(timelines)
}

async fn fill_gap(
    user: &User,
    room: &str,
    prev_batch: &str,
    since: &str,
    known: Option<&str>,
) -> Result<Vec<(String, String)>> {
    use plexus_testkit::actor::escape;
    let mut from = prev_batch.to_owned();
    let mut newest_first = Vec::new();
    loop {
        let path = format!(
            "/rooms/{}/messages?dir=b&limit=500&from={}&to={}",
            escape(room),
            escape(&from),
            escape(since)
        );
        let page = user.call(reqwest::Method::GET, &path, None).await?.ok()?;
        for message in messages(page["chunk"].as_array().context("no chunk")?) {
            if Some(message.0.as_str()) == known {
                newest_first.reverse();
                return Ok(newest_first);
            }
            newest_first.push(message);
        }
        match page["end"].as_str() {
            Some(end) => from = end.to_owned(),
            None => {
                newest_first.reverse();
                return Ok(newest_first);
            }
        }
    }
}
