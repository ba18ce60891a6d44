//! Making the answer: at once if there is something to tell, else when there is, or when the client's time is up.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use plexus_matrix_http::{MatrixError, token::SyncToken};
use plexus_push::Rules;
use plexus_service::Shutdown;
use ruma::OwnedRoomId;
use serde_json::value::RawValue;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tracing::{debug, error, warn};

use super::{
    context::{Context, Problem, RenderedRoom, data_event},
    device_lists,
    effort::AtOnce,
    erasure, inbox, invited, joined, key_counts,
    lazy::{Device, Sent},
    left, out_of_band,
    params::Request,
    relations::Relations,
    response::{Events, InvitedRoom, JoinedRoom, KnockedRoom, LeftRoom, Response},
    timeline::Timeline,
};
use crate::{
    SyncService,
    clock::now_ms,
    limits, metrics as names,
    positions::Vector,
    view::{self, Candidate, Membership, News, PUSH_RULES, Pin, Reading, User},
};

/// Answers a request.
pub(crate) async fn answer(service: &SyncService, request: &Request) -> Result<Response, MatrixError> {
    let deadline = Instant::now() + request.timeout;
    let device = request
        .filter
        .lazy_members()
        .map(|redundant| (service.lazy_members.device(&request.user, request.since.as_ref()), redundant));
    let mut user = service.view.user(&request.user.id).await?;
    inbox::acknowledge(service, &request.user, request.inbox, &user);
    let mut since = request.since;
    let mut waited = false;
    loop {
        // Before looking, so that nothing slips in between looking and waiting.
        let mut news = user.news();
        let begun = Instant::now();
        let attempt = attempt(service, request, since, &mut user, &mut news, device.as_ref()).await;
        service.view.relieve();
        let (answer, sent) = attempt?;
        metrics::histogram!(names::ANSWER).record(begun.elapsed().as_secs_f64());
        let is_final = request.since.is_none() || request.full_state || !answer.is_empty();
        // Whoever has lost the session while waiting loses the answer, which may tell what came after that; and what woke
        // the request may be the end of its session. Who did not wait has just shown the session.
        if waited || request.came.elapsed() > limits::MOMENT {
            service.edge.confirm(&request.user).await?;
        }
        if !is_final && wait(&mut news, deadline, &service.shutdown).await {
            waited = true;
            if let Some(cause) = news.borrow().cause {
                debug!(cause.trace_id = %cause, "waiting request woken");
            }
            // There was nothing to tell up to here, so nobody need look there again.
            since = Some(answer.next_batch);
            continue;
        }
        if !is_final && !request.timeout.is_zero() {
            service.edge.confirm(&request.user).await?;
        }
        if let Some((device, _)) = &device {
            device.sent(answer.next_batch, sent);
        }
        return Ok(answer);
    }
}

/// Waits for news; returns whether there are some.
pub(super) async fn wait(news: &mut watch::Receiver<News>, deadline: Instant, shutdown: &Shutdown) -> bool {
    // A timer would take a millisecond to tell.
    if deadline <= Instant::now() {
        return false;
    }
    let _waiting = Waiting::start();
    tokio::select! {
        changed = timeout_at(deadline, news.changed()) => matches!(changed, Ok(Ok(()))),
        () = shutdown.requested() => false,
    }
}

/// Counts a waiting request, until it is dropped.
struct Waiting;

impl Waiting {
    fn start() -> Self {
        metrics::gauge!(names::WAITING).increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        metrics::gauge!(names::WAITING).decrement(1.0);
    }
}

/// Makes an answer as of now. Begins again where what it needs is ahead of the log, or went from memory.
async fn attempt(
    service: &SyncService,
    request: &Request,
    since: Option<SyncToken>,
    user: &mut Arc<User>,
    news: &mut watch::Receiver<News>,
    device: Option<&(Device, super::filter::Redundant)>,
) -> Result<(Response, Vec<Sent>), MatrixError> {
    let at_once = AtOnce::new();
    // What one attempt loads is there for the next.
    let mut pins = Vec::new();
    for _ in 0..limits::ATTEMPTS {
        // What a token has told counts as read, even where this process has not got there; but nobody waits for it.
        let now = now_ms();
        let told = since.map_or(0, |since| since.at);
        let mut cut = service.positions.cut(service.view.time_of_answer(told, now));
        let mut target = cut;
        if let Some(since) = &since {
            // Offsets are not carried on from the token: the log they belong to may be gone, with the process it was in.
            // A process that begins does not know the generation yet: a token without one has no position in the inbox.
            let generation = cut.generation.or(since.generation);
            cut = SyncToken { live: cut.live, generation, ..cut.max(since) };
        }
        if let Some(inbox) = request.inbox {
            // Of a token of another device nothing was delivered to this one.
            cut.set_delivered(&request.user.id, &request.user.device_id, inbox);
        }
        // The same token, but for offsets that are none here: whatever is ephemeral is told again.
        let known = since.map(|since| SyncToken { live: known_offsets(&since.live, &cut.live), ..since });
        let about = view::Request { since: known.as_ref(), all_joined: request.full_state, now };
        match user.read(about, &target.rooms, &mut cut) {
            None => {
                *user = service.view.user(&request.user.id).await?;
                *news = user.news();
                continue;
            }
            Some(Err(ahead)) => target.rooms = ahead,
            Some(Ok(reading)) => {
                if !erasure::learn(service, &reading.candidates, request.full_state).await? {
                    warn!("log of users does not bring what the room server has committed");
                    return Err(MatrixError::unavailable());
                }
                let context = Context {
                    service,
                    request,
                    since: known,
                    cut,
                    now,
                    attention: reading.attention.clone(),
                    at_once: &at_once,
                    lazy: device.cloned(),
                };
                match make(&context, reading, user, &mut pins).await {
                    Ok(answer) => return Ok(answer),
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

/// A room's section of the answer.
enum Section {
    Joined(RenderedRoom<JoinedRoom>),
    Invited(InvitedRoom),
    Knocked(KnockedRoom),
    Left(RenderedRoom<LeftRoom>),
}

async fn make(
    context: &Context<'_>,
    mut reading: Reading,
    user: &User,
    pins: &mut Vec<Pin>,
) -> Result<(Response, Vec<Sent>), Problem> {
    // A client that begins asks for whatever it needs.
    let has_device_news = context.since.as_ref().is_some_and(|since| {
        let rooms = reading.candidates.iter().map(|candidate| &*candidate.room);
        device_lists::may_have_changed(context.service, since, rooms)
    });
    let candidates = std::mem::take(&mut reading.candidates);
    reading.candidates =
        candidates.into_iter().filter(|candidate| is_wanted(context, &reading, candidate)).collect();
    load(context, &mut reading.candidates, pins).await?;
    let mut response = Response::new(context.cut);
    let (mut sent, mut timelines) = (Vec::new(), Vec::new());
    let mut sections = futures::stream::iter(std::mem::take(&mut reading.candidates))
        .map(|candidate| async move { (section(context, &candidate).await, candidate) })
        .buffer_unordered(limits::CONCURRENCY)
        .map(|(section, candidate)| match section {
            Ok(section) => Ok((section, candidate)),
            // One room that the room server does not know any more must not take the others with it.
            Err(Problem::Upstream(refused)) if refused.is_refusal() => {
                error!(room.id = %candidate.room.id, error = %refused, "room cannot be read, leaving it out");
                Ok((None, candidate))
            }
            Err(problem) => Err(problem),
        });
    while let Some((section, candidate)) = sections.try_next().await? {
        let room_id = candidate.room.id.clone();
        let mut with_timeline = |members, timeline: Timeline, end| {
            sent.extend(members);
            if !timeline.events.is_empty() {
                timelines.push((room_id.clone(), timeline, end));
            }
        };
        match section {
            Some(Section::Joined(RenderedRoom { room, members, timeline, end })) => {
                with_timeline(members, timeline, end);
                response.rooms.join.insert(room_id, room);
            }
            Some(Section::Left(RenderedRoom { room, members, timeline, end })) => {
                with_timeline(members, timeline, end);
                response.rooms.leave.insert(room_id, room);
            }
            Some(Section::Invited(room)) => drop(response.rooms.invite.insert(room_id, room)),
            Some(Section::Knocked(room)) => drop(response.rooms.knock.insert(room_id, room)),
            None => {}
        }
    }
    show(context, &mut response, &timelines).await?;
    out_of_band::tell(context, &reading, &mut response);
    inbox::deliver(context, user, &mut response).await?;
    if let Some(since) = context.since.as_ref().filter(|_| has_device_news) {
        response.device_lists = device_lists::changes(context, since).await?;
    }
    key_counts::tell(context, &mut response).await?;
    let filter = &context.request.filter.account_data;
    if context.since.is_none() && reading.attention.rules_seq == 0 {
        // Who changed nothing has the predefined rules.
        reading.account_data.push((PUSH_RULES.to_owned(), Bytes::new()));
    }
    let data = reading.account_data.iter().filter(|(kind, _)| filter.wants_data(kind, context.user_id()));
    let events = data.filter_map(|(kind, content)| match kind.as_str() {
        PUSH_RULES => push_rules(context),
        _ => data_event(kind, content),
    });
    response.account_data = Events { events: events.collect() };
    Ok((response, sent))
}

/// Puts the events into the timelines of an answer, with what relations have made of them.
async fn show(
    context: &Context<'_>,
    response: &mut Response,
    timelines: &[(OwnedRoomId, Timeline, u64)],
) -> Result<(), Problem> {
    let all = timelines.iter().map(|(room_id, timeline, end)| (room_id, timeline, *end));
    let relations = Relations::of_all(context, all).await?;
    for (room_id, timeline, _) in timelines {
        let events = timeline.show(context, room_id, &relations);
        let rooms = &mut response.rooms;
        let joined = rooms.join.get_mut(room_id).map(|room| &mut room.timeline);
        if let Some(shown) = joined.or_else(|| rooms.leave.get_mut(room_id).map(|room| &mut room.timeline)) {
            shown.events = events;
        }
    }
    Ok(())
}

/// The rules of the user with all that are predefined, whatever version they were stored by.
pub(super) fn push_rules(context: &Context<'_>) -> Option<Arc<RawValue>> {
    let content = if context.attention.rules_seq == 0 {
        Rules::predefined(context.user_id()).content()
    } else {
        context.attention.rules.content()
    };
    let content = content.inspect_err(|failure| error!(error = %failure, "push rules cannot be shown"));
    data_event(PUSH_RULES, &content.ok()?)
}

/// Loads the rooms that the user is in, all before any is read: what is loaded may be ahead of the cut, and then the
/// answer begins again, once.
pub(super) async fn load(
    context: &Context<'_>,
    candidates: &mut Vec<Candidate>,
    pins: &mut Vec<Pin>,
) -> Result<(), Problem> {
    let is_joined = |candidate: &Candidate| candidate.now.membership == Membership::Join;
    let mut rooms = Vec::new();
    for candidate in candidates.iter() {
        if is_joined(candidate) {
            pins.push(candidate.room.pin());
            rooms.push(Arc::clone(&candidate.room));
        }
    }
    let view = Arc::clone(&context.service.view);
    let mut loads = futures::stream::iter(rooms)
        .map(move |room| {
            let view = Arc::clone(&view);
            async move { (view.load(&room).await, room) }
        })
        .buffer_unordered(limits::CONCURRENCY);
    let mut target = context.cut.rooms;
    let mut unknown = HashSet::new();
    while let Some((loaded, room)) = loads.next().await {
        match loaded {
            Ok(()) => {}
            // One room that the room server does not know any more must not take the others with it.
            Err(refused) if refused.is_refusal() => {
                error!(room.id = %room.id, error = %refused, "room cannot be read, leaving it out");
                unknown.insert(room.id.clone());
            }
            Err(failure) => return Err(failure.into()),
        }
        if let Some(position) = target.get_mut(room.partition) {
            *position = (*position).max(room.loaded_at());
        }
    }
    drop(loads);
    candidates.retain(|candidate| !(is_joined(candidate) && unknown.contains(&candidate.room.id)));
    if target == context.cut.rooms { Ok(()) } else { Err(Problem::Behind(Box::new(target))) }
}

/// Whether the answer shows the room at all.
fn is_wanted(context: &Context<'_>, reading: &Reading, candidate: &Candidate) -> bool {
    let shown = match candidate.now.membership {
        Membership::Join | Membership::Knock => true,
        Membership::Invite => reading.shows_invite(candidate),
        // A client that begins is told of rooms it left only if it asks, and of bans always: nobody leaves by a ban. One
        // that goes on is told once, even if the room was forgotten at once: else the user's other devices would never
        // learn that it was left.
        membership @ (Membership::Leave | Membership::Ban) => {
            let is_wanted = context.request.filter.include_leave() || membership == Membership::Ban;
            context.request.since.is_some() || (is_wanted && !candidate.forgotten)
        }
    };
    shown && context.request.filter.wants_room(&candidate.room.id)
}

async fn section(context: &Context<'_>, candidate: &Candidate) -> Result<Option<Section>, Problem> {
    Ok(match candidate.now.membership {
        Membership::Join => joined::joined(context, candidate).await?.map(Section::Joined),
        Membership::Leave | Membership::Ban => left::left(context, candidate).await?.map(Section::Left),
        Membership::Invite => {
            let invite_state = invited::stripped_state(context, candidate).await?;
            Some(Section::Invited(InvitedRoom { invite_state }))
        }
        Membership::Knock => {
            let knock_state = invited::stripped_state(context, candidate).await?;
            Some(Section::Knocked(KnockedRoom { knock_state }))
        }
    })
}

/// Offsets of a token, as far as this process has read the log up to them.
pub(super) fn known_offsets(token: &Vector, read: &Vector) -> Vector {
    std::array::from_fn(|partition| {
        let (told, read) = (token.get(partition).copied(), read.get(partition).copied());
        told.filter(|told| Some(*told) <= read).unwrap_or_default()
    })
}
