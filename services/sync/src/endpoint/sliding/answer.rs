//! Making an answer of sliding sync: at once if there is something to tell, else when there is, or when the time is up.
//!
//! Nothing is kept between requests: a request with the same position is answered as if for the first time, whatever
//! became of an earlier answer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use plexus_matrix_http::{AuthedUser, MatrixError, token::SyncToken};
use ruma::{OwnedRoomId, RoomId};
use tokio::{sync::watch, time::Instant};
use tracing::{error, warn};

use super::{
    extensions,
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
        effort::AtOnce,
        erasure,
        params::{self, Since},
        relations::Relations,
    },
    limits, metrics as names,
    view::{Attention, Candidate, News, Pin, User},
};

/// What all attempts at one answer share.
struct Asked<'a> {
    service: &'a SyncService,
    user: &'a AuthedUser,
    came: Instant,
    request: &'a Request,
    pos: Option<Pos>,
    tag: u32,
    /// What is wanted of rooms, by how many events of them.
    of_rooms: HashMap<u16, params::Request>,
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
    let mut waited = false;
    loop {
        // Before looking, so that nothing slips in between looking and waiting.
        let mut news = of_user.news();
        let begun = Instant::now();
        let is_over = asked.pos.is_none() || deadline <= begun;
        let patient = asked.pos.as_ref().is_some_and(|pos| pos.exhausted) && !is_over;
        let answer = asked.attempt(&mut of_user, &mut news, patient).await?;
        metrics::histogram!(names::ANSWER).record(begun.elapsed().as_secs_f64());
        // Whoever has lost the session while waiting loses the answer.
        if waited || asked.came.elapsed() > limits::MOMENT {
            service.edge.confirm(user).await?;
        }
        if is_over || !answer.is_empty() || service.shutdown.is_requested() {
            return Ok(answer);
        }
        waited = true;
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
        Ok(Self { service, user, came, request, pos, tag, of_rooms })
    }

    /// Makes an answer as of now. Begins again where what it needs is ahead of the log, or went from memory.
    async fn attempt(
        &self,
        user: &mut Arc<User>,
        news: &mut watch::Receiver<News>,
        patient: bool,
    ) -> Result<Response, MatrixError> {
        let service = self.service;
        let at_once = AtOnce::new();
        let mut pins = Vec::new();
        for _ in 0..limits::ATTEMPTS {
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
            let read = user.read_rooms(&target.rooms, &mut cut, |rooms, cut| {
                let users = since
                    .filter(|_| !data_in_full)
                    .map_or(0, |since| since.users.get(rooms.partition).copied().unwrap_or_default());
                let data =
                    if on & scope::ACCOUNT_DATA == 0 { Vec::new() } else { rooms.data_since("", users) };
                (plan::plan(rooms, cut, &basis), data, rooms.attention.clone())
            });
            match read {
                None => {
                    *user = service.view.user(&self.user.id).await?;
                    *news = user.news();
                    continue;
                }
                Some(Err(ahead)) => target.rooms = ahead,
                Some(Ok((plan, data, attention))) => {
                    let candidates: Vec<Candidate> =
                        plan.chosen.iter().map(|chosen| chosen.candidate.clone()).collect();
                    if !erasure::learn(service, &candidates, false).await? {
                        warn!("log of users does not bring what the room server has committed");
                        return Err(MatrixError::unavailable());
                    }
                    let context = |limit: u16| self.context(limit, since, cut, now, &attention, &at_once);
                    match self.make(&context, plan, candidates, &mut pins).await {
                        Ok(mut answer) => {
                            if let (Some(part), Some(context)) =
                                (&mut answer.extensions.account_data, context(0))
                            {
                                part.global = extensions::global(&context, data, data_in_full);
                            }
                            return Ok(answer);
                        }
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
            let own = chosen.candidate.now.sender == self.user.id;
            let Some((section, of_room)) = made else {
                // Nobody can tell it, so nobody tries again at once.
                plan.settle(&chosen, own, plan::Outcome { answered: true, state_changed: true });
                continue;
            };
            plan.settle(&chosen, own, section.outcome);
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

async fn made(
    context: &Context<'_>,
    chosen: &Chosen,
    live: Option<u64>,
) -> Result<(Section, extensions::OfRoom), Problem> {
    let section = section::make(context, chosen, live).await?;
    let of_room = extensions::of_room(context, chosen, &section)?;
    Ok((section, of_room))
}
