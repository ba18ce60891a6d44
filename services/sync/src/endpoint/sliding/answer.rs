//! Making an answer of sliding sync: at once if there is something to tell, else when there is, or when the time is up.
//!
//! Nothing is kept between requests: a request with the same position is answered as if for the first time, whatever
//! became of an earlier answer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, token::SyncToken};
use ruma::{OwnedRoomId, RoomId};
use tokio::{sync::watch, time::Instant};
use tracing::{error, warn};

use super::{
    extensions::{
        self,
        encryption::{Inbox, ListsSince, encryption},
    },
    lists::Spaces,
    plan::{self, Basis, Chosen, Plan},
    pos::{Pos, scope},
    request::{self, Request},
    response::{Extensions, Response},
    section::{self, Section},
};
use crate::{
    SyncService,
    clock::now_ms,
    endpoint::{
        answer::{known_offsets, load, wait},
        context::{Context, Problem},
        device_lists,
        effort::AtOnce,
        erasure, inbox,
        params::{self, Since},
        relations::Relations,
    },
    limits, metrics as names,
    view::{Attention, Candidate, News, Pin, Room, RoomsOfUser, User},
};

/// What all attempts at one answer share.
struct Asked<'a> {
    service: &'a SyncService,
    user: &'a AuthedUser,
    came: Instant,
    request: &'a Request,
    pos: Option<Pos>,
    tag: u32,
    /// Which messages to the device are told, if they are wanted.
    inbox: Option<Inbox>,
    /// What is wanted of rooms, by how many events of them.
    of_rooms: HashMap<u16, params::Request>,
}

/// What an answer tells beside rooms.
struct Beside<'a> {
    /// Global account data, and whether that is all there are.
    data: Vec<(String, Bytes)>,
    data_in_full: bool,
    lists: ListsSince<'a>,
}

/// Answers a request.
pub(super) async fn answer(
    service: &SyncService,
    user: &AuthedUser,
    request: &Request,
) -> Result<Response, MatrixError> {
    let asked = Asked::read(service, user, request).await?;
    let deadline = asked.came + request.timeout;
    let mut of_user = service.view.user(&user.id).await?;
    inbox::acknowledge(service, user, asked.inbox.map(|inbox| inbox.after), &of_user);
    let mut waited = false;
    // Device lists were looked at up to here.
    let mut looked = None;
    loop {
        // Before looking, so that nothing slips in between looking and waiting.
        let mut news = of_user.news();
        let begun = Instant::now();
        let is_over = asked.pos.is_none() || deadline <= begun;
        let patient = asked.pos.as_ref().is_some_and(|pos| pos.exhausted) && !is_over;
        let attempt = asked.attempt(&mut of_user, &mut news, patient, looked).await;
        service.view.relieve();
        let (answer, cut) = attempt?;
        metrics::histogram!(names::ANSWER).record(begun.elapsed().as_secs_f64());
        // Whoever has lost the session while waiting loses the answer.
        if waited || asked.came.elapsed() > limits::MOMENT {
            service.edge.confirm(user).await?;
        }
        if is_over || !answer.is_empty() || service.shutdown.is_requested() {
            return Ok(answer);
        }
        (waited, looked) = (true, Some(cut));
        // If nothing comes, the time is up, and what is patient is told.
        wait(&mut news, deadline, &service.shutdown).await;
    }
}

fn unknown_pos() -> MatrixError {
    MatrixError::new(StatusCode::BAD_REQUEST, "M_UNKNOWN_POS", "Unknown position")
}

impl<'a> Asked<'a> {
    async fn read(
        service: &'a SyncService,
        user: &'a AuthedUser,
        request: &'a Request,
    ) -> Result<Self, MatrixError> {
        let came = Instant::now();
        let connection = format!("{}\u{0}{}\u{0}{}", user.id, user.device_id, request.conn_id);
        let [a, b, c, d, ..] = request::hash(&connection).to_le_bytes();
        let tag = u32::from_le_bytes([a, b, c, d]);
        let pos = match &request.pos {
            None => None,
            Some(text) => {
                let mut pos = text.parse::<Pos>().map_err(|_| unknown_pos())?;
                if pos.tag != tag {
                    return Err(unknown_pos());
                }
                match Since::of(service, user, pos.vector).await {
                    Since::Position(vector) => pos.vector = *vector,
                    Since::Nothing | Since::Elsewhere => return Err(unknown_pos()),
                }
                Some(pos)
            }
        };
        let mut of_rooms = HashMap::new();
        let wishes = request.lists.values().map(|list| list.wish.limit);
        let wishes = wishes.chain(request.subscriptions.values().map(|wish| wish.limit));
        for limit in wishes.chain([0]) {
            of_rooms.insert(limit, params::Request::of_room(user, came, limit)?);
        }
        let inbox = match &request.extensions.to_device {
            Some(wanted) => Some(Inbox::read(service, user, wanted).await?),
            None => None,
        };
        Ok(Self { service, user, came, request, pos, tag, inbox, of_rooms })
    }

    /// Since when device lists are told. Who wants them for the first time was told of none.
    fn lists_since(&self, since: Option<&SyncToken>, looked: Option<SyncToken>) -> Option<SyncToken> {
        let pos = self.pos.as_ref().filter(|_| self.request.extensions.e2ee)?;
        let is_new = pos.extensions & scope::E2EE == 0;
        looked.or_else(|| if is_new { Some(SyncToken::default()) } else { since.copied() })
    }

    /// Makes an answer as of now, and tells as of when. Begins again where what it needs is ahead of the log, or went from
    /// memory.
    async fn attempt(
        &self,
        user: &mut Arc<User>,
        news: &mut watch::Receiver<News>,
        patient: bool,
        looked: Option<SyncToken>,
    ) -> Result<(Response, SyncToken), MatrixError> {
        let service = self.service;
        let at_once = AtOnce::new();
        let mut pins = Vec::new();
        for _ in 0..limits::ATTEMPTS {
            service.view.meet_rooms(user).await?;
            let now = now_ms();
            let told = self.pos.as_ref().map(|pos| pos.vector);
            let mut cut =
                service.positions.cut(service.view.time_of_answer(told.map_or(0, |told| told.at), now));
            let mut target = cut;
            if let Some(told) = &told {
                // A process that begins does not know the generation yet.
                let generation = cut.generation.or(told.generation);
                cut = SyncToken { live: cut.live, generation, ..cut.max(told) };
            }
            let since = told.map(|told| SyncToken { live: known_offsets(&told.live, &cut.live), ..told });
            let spaces = self.spaces(&mut pins).await?;
            let basis = Basis {
                request: self.request,
                pos: self.pos.as_ref(),
                since: since.as_ref(),
                spaces: &spaces,
                now,
                patient,
                bounds: service.bounds,
            };
            let on = self.request.extensions.on();
            let data_in_full = self.pos.as_ref().is_none_or(|pos| pos.extensions & scope::ACCOUNT_DATA == 0);
            let lists_since = self.lists_since(since.as_ref(), looked);
            let read = user.read_rooms(&target.rooms, &mut cut, |rooms, cut| {
                let users = since
                    .filter(|_| !data_in_full)
                    .map_or(0, |since| since.users.get(rooms.partition).copied().unwrap_or_default());
                let data =
                    if on & scope::ACCOUNT_DATA == 0 { Vec::new() } else { rooms.data_since("", users) };
                let lists = match &lists_since {
                    None => ListsSince::Never,
                    Some(since) if keys_may_have_changed(service, since, rooms) => ListsSince::Token(since),
                    Some(_) => ListsSince::Now,
                };
                let beside = Beside { data, data_in_full, lists };
                (plan::plan(rooms, cut, &basis), beside, rooms.attention.clone())
            });
            match read {
                None => {
                    *user = service.view.user(&self.user.id).await?;
                    *news = user.news();
                    continue;
                }
                Some(Err(ahead)) => target.rooms = ahead,
                Some(Ok((plan, beside, attention))) => {
                    let candidates: Vec<Candidate> =
                        plan.chosen.iter().map(|chosen| chosen.candidate.clone()).collect();
                    if !erasure::learn(service, &candidates, false).await? {
                        warn!("log of users does not bring what the room server has committed");
                        return Err(MatrixError::unavailable());
                    }
                    let context = |limit: u16| self.context(limit, since, cut, now, &attention, &at_once);
                    let made = match self.make(&context, plan, candidates, &mut pins).await {
                        Ok(answer) => self.extended(&context, user, answer, beside).await,
                        Err(problem) => Err(problem),
                    };
                    match made {
                        Ok(answer) => return Ok((answer, cut)),
                        Err(Problem::Gone) => continue,
                        Err(Problem::Behind(ahead)) => target.rooms = *ahead,
                        Err(Problem::Upstream(failure)) => return Err(failure.into()),
                    }
                }
            }
            if !service.positions.reach(&target, limits::CATCH_UP).await {
                warn!("log does not bring what the room server has committed");
                return Err(MatrixError::unavailable());
            }
        }
        Err(MatrixError::unavailable())
    }

    fn context<'c>(
        &'c self,
        limit: u16,
        since: Option<SyncToken>,
        cut: SyncToken,
        now: i64,
        attention: &Attention,
        at_once: &'c AtOnce,
    ) -> Option<Context<'c>> {
        let request = self.of_rooms.get(&limit)?;
        let attention = attention.clone();
        Some(Context { service: self.service, request, since, cut, now, attention, at_once, lazy: None })
    }

    /// The rooms of the spaces that filters name, as far as the user is in the space.
    async fn spaces(&self, pins: &mut Vec<Pin>) -> Result<Spaces, MatrixError> {
        let filters = self.request.lists.values().filter_map(|list| list.filter.spaces.as_ref());
        let named: HashSet<&RoomId> = filters.flatten().map(|space| &**space).collect();
        let mut spaces = Spaces::new();
        for space in named {
            let Some(room) = self.service.view.find_room(space) else { continue };
            if !room.is_watched_by(&self.user.id) {
                continue;
            }
            pins.push(room.pin());
            self.service.view.load(&room).await?;
            let children = room.read(|view| view.children()).unwrap_or_default();
            spaces.insert(room.id.clone(), children);
        }
        Ok(spaces)
    }

    /// Adds to an answer what it tells beside rooms.
    async fn extended<'c>(
        &'c self,
        context: &impl Fn(u16) -> Option<Context<'c>>,
        user: &User,
        mut answer: Response,
        beside: Beside<'_>,
    ) -> Result<Response, Problem> {
        let context = context(0).ok_or(Problem::Gone)?;
        if let Some(part) = &mut answer.extensions.account_data {
            part.global = extensions::global(&context, beside.data, beside.data_in_full);
        }
        if let Some(inbox) = self.inbox {
            answer.extensions.to_device = Some(inbox.tell(&context, user).await?);
        }
        if self.request.extensions.e2ee {
            answer.extensions.e2ee = Some(encryption(&context, beside.lists).await?);
        }
        Ok(answer)
    }

    async fn make<'c>(
        &'c self,
        context: &impl Fn(u16) -> Option<Context<'c>>,
        mut plan: Plan,
        mut candidates: Vec<Candidate>,
        pins: &mut Vec<Pin>,
    ) -> Result<Response, Problem> {
        let plain = context(0).ok_or(Problem::Gone)?;
        load(&plain, &mut candidates, pins).await?;
        // One that the room server does not know any more must not take the others with it.
        let known: HashSet<OwnedRoomId> =
            candidates.into_iter().map(|candidate| candidate.room.id.clone()).collect();
        let chosen = std::mem::take(&mut plan.chosen);
        let mut response = Response {
            txn_id: self.request.txn_id.clone(),
            lists: std::mem::take(&mut plan.counts),
            is_partial: plan.is_partial,
            extensions: Extensions::of(self.request.extensions.on()),
            ..Response::default()
        };
        let live = self.pos.as_ref().map(|pos| pos.vector.rooms);
        let mut timelines = Vec::new();
        let known = &known;
        let mut sections = futures::stream::iter(chosen)
            .map(|chosen| async move {
                if !known.contains(&chosen.candidate.room.id) {
                    return Ok((None, chosen));
                }
                let context = context(chosen.wish.limit).ok_or(Problem::Gone)?;
                let partition = chosen.candidate.room.partition;
                let live = live.map(|live| live.get(partition).copied().unwrap_or_default());
                match made(&context, &chosen, live).await {
                    Ok(made) => Ok((Some(made), chosen)),
                    Err(Problem::Upstream(refused)) if refused.is_refusal() => {
                        let room_id = &chosen.candidate.room.id;
                        error!(room.id = %room_id, error = %refused, "room cannot be read, leaving it out");
                        Ok((None, chosen))
                    }
                    Err(problem) => Err(problem),
                }
            })
            .buffer_unordered(limits::CONCURRENCY);
        while let Some((made, chosen)) = sections.try_next().await? {
            let Some((section, of_room)) = made else {
                // Nobody can tell it, so nobody tries again at once.
                plan.settle(&chosen, plan::Outcome { answered: true, state_changed: true });
                continue;
            };
            plan.settle(&chosen, section.outcome);
            response.extensions.add(&section.room_id, of_room);
            if let Some(room) = section.room {
                response.rooms.insert(section.room_id.clone(), room);
                timelines.push((section.room_id, section.timeline, section.end));
            }
        }
        drop(sections);
        let all = timelines.iter().map(|(room_id, timeline, end)| (room_id, timeline, *end));
        let relations = Relations::of_all(&plain, all).await?;
        for (room_id, timeline, _) in &timelines {
            let shown = response.rooms.get_mut(room_id).and_then(|room| room.timeline.as_mut());
            if let Some(shown) = shown {
                shown.events = timeline.show(&plain, room_id, &relations);
            }
        }
        response.pos = plan.write((plain.cut, self.tag, self.request.extensions.on()));
        Ok(response)
    }
}

/// Whether anybody's keys may have changed for the user since a token.
fn keys_may_have_changed(service: &SyncService, since: &SyncToken, rooms: &RoomsOfUser<'_>) -> bool {
    let has_moved =
        |room: &&Room| room.moved_since(since.rooms.get(room.partition).copied().unwrap_or_default());
    let moved = rooms.rooms.iter().map(|known| &**known.room).filter(has_moved);
    device_lists::may_have_changed(service, since, moved)
}

async fn made(
    context: &Context<'_>,
    chosen: &Chosen,
    live: Option<u64>,
) -> Result<(Section, extensions::OfRoom), Problem> {
    let section = section::make(context, chosen, live).await?;
    let of_room = extensions::of_room(context, chosen, &section)?;
    Ok((section, of_room))
}
