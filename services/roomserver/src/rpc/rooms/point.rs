//! Finds the state of a room at a point of its history.

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{StatePoint, state_point::Point};
use tonic::Status;

use super::access::{Access, Facts, View, nothing_to_see};
use crate::{
    app::App,
    rooms::flags,
    rpc::check::{self, failed, forbidden, not_found},
    store::{StoreError, reads, reads::timeline::PointRow},
};

const MEMBER: &str = "m.room.member";

/// The state of a room at some point; it never changes.
#[derive(Debug, Clone)]
pub(in crate::rpc) struct State {
    room_nid: i64,
    members_root: i64,
    other_root: i64,
    /// For a state before an event: the event, and what it replaced.
    taken_back: Option<(i64, Option<i64>)>,
    /// Whether it is the current state of the room.
    pub(super) current: bool,
}

/// The current state of a room.
pub(in crate::rpc) fn current_state(view: &View) -> State {
    let room = &view.room;
    State {
        room_nid: room.room_nid,
        members_root: room.members_root,
        other_root: room.other_root,
        taken_back: None,
        current: true,
    }
}

/// Finds the state at a point, as far as the viewer may see it.
///
/// A viewer may see the state at an event that the rules let them see. One who has left sees nothing later than their
/// leave. A member who names a position (not an event) that they may not see gets the state they next came into: the
/// tokens that clients have of the beginning of a timeline lie just before it.
pub(in crate::rpc) async fn resolve(
    app: &App,
    conn: &AsyncPgConnection,
    view: &View,
    at: Option<StatePoint>,
) -> Result<State, Status> {
    let standing = view.viewer.as_ref().map(|viewer| viewer.access);
    let departure = match standing {
        Some(Access::Departed { seq, .. }) => Some(seq),
        Some(Access::Member | Access::Anyone | Access::Stranger) | None => None,
    };
    let room = &view.room;
    let (point, before) = match at.and_then(|at| at.point) {
        None if standing == Some(Access::Stranger) => return Err(nothing_to_see()),
        None => match departure {
            None => {
                return Ok(current_state(view));
            }
            Some(departure) => (point_at(app, conn, view, departure).await?.clear()?, false),
        },
        Some(Point::AtSeq(seq)) => {
            let seq = departure.map_or(seq, |departure| departure.min(seq));
            let point = match point_at(app, conn, view, seq).await? {
                PointAccess::Clear(point) => point,
                PointAccess::Hidden => match view.next_join(seq) {
                    Some(join) => point_at(app, conn, view, join).await?.clear()?,
                    None => return Err(not_visible()),
                },
            };
            (point, false)
        }
        Some(Point::BeforeEventId(event_id)) => (point_of(app, conn, view, &event_id).await?, true),
        Some(Point::AfterEventId(event_id)) => (point_of(app, conn, view, &event_id).await?, false),
    };
    let Some(point) = point else {
        // Before the first event of the room.
        return Ok(State {
            room_nid: room.room_nid,
            members_root: 0,
            other_root: 0,
            taken_back: None,
            current: false,
        });
    };
    Ok(State {
        room_nid: room.room_nid,
        members_root: point.members_root,
        other_root: point.other_root,
        taken_back: before.then_some((point.event_nid, point.replaces_nid)),
        current: false,
    })
}

/// The last event up to a position, if there is one, as far as the viewer may see it.
enum PointAccess {
    Clear(Option<PointRow>),
    Hidden,
}

impl PointAccess {
    fn clear(self) -> Result<Option<PointRow>, Status> {
        match self {
            Self::Clear(point) => Ok(point),
            Self::Hidden => Err(not_visible()),
        }
    }
}

async fn point_at(app: &App, conn: &AsyncPgConnection, view: &View, seq: i64) -> Result<PointAccess, Status> {
    let found = reads::timeline::find_point_at(conn, &view.room.room_nid, &seq)
        .await
        .map_err(|error| failed(&error))?;
    let point = found.into_iter().next();
    let visible = match &point {
        Some(point) => may_see(app, conn, view, point).await?,
        None => view.viewer.is_none(),
    };
    Ok(if visible { PointAccess::Clear(point) } else { PointAccess::Hidden })
}

async fn point_of(
    app: &App,
    conn: &AsyncPgConnection,
    view: &View,
    event_id: &str,
) -> Result<Option<PointRow>, Status> {
    check::event_id("at", event_id)?;
    let found = reads::timeline::find_point(conn, event_id).await.map_err(|error| failed(&error))?;
    // The state around an outlier is not known.
    let point = found
        .into_iter()
        .find(|point| point.room_nid == view.room.room_nid && point.flags & flags::OUTLIER == 0);
    match point {
        Some(point) if may_see(app, conn, view, &point).await? => Ok(Some(point)),
        Some(_) => Err(not_visible()),
        None if view.viewer.is_some() => Err(not_visible()),
        None => Err(not_found("the room has no such event")),
    }
}

/// Whether the viewer may see what the room was like at the event, by the state at it if need be.
async fn may_see(app: &App, conn: &AsyncPgConnection, view: &View, point: &PointRow) -> Result<bool, Status> {
    let visible = view.may_see_state_exactly(app, conn, point.event_nid, &facts(point)).await;
    visible.map_err(|error| failed(&error))
}

fn facts(point: &PointRow) -> Facts<'_> {
    Facts {
        seq: point.seq,
        event_type: &point.event_type,
        state_key: point.state_key.as_deref(),
        flags: point.flags,
        visibility: point.visibility,
    }
}

fn not_visible() -> Status {
    forbidden("you may not see the room at this point")
}

impl State {
    /// Finds the events that hold keys, in the order of the keys.
    pub(in crate::rpc) async fn find(
        &self,
        app: &App,
        conn: &AsyncPgConnection,
        keys: &[(&str, &str)],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let (members, others) = keys.iter().partition::<Vec<_>, _>(|(event_type, _)| *event_type == MEMBER);
        let members =
            reads::state::find(&app.nodes, conn, self.room_nid, self.members_root, &members).await?;
        let others = reads::state::find(&app.nodes, conn, self.room_nid, self.other_root, &others).await?;
        let (mut members, mut others) = (members.into_iter(), others.into_iter());
        let found = keys.iter().map(|(event_type, _)| {
            if *event_type == MEMBER { members.next().flatten() } else { others.next().flatten() }
        });
        Ok(found.map(|event| event.and_then(|event| self.put_back(event))).collect())
    }

    /// Lists the events of the state in order of arrival, of members or others or both.
    pub(in crate::rpc) async fn list(
        &self,
        app: &App,
        conn: &AsyncPgConnection,
        members: bool,
        others: bool,
    ) -> Result<Vec<i64>, StoreError> {
        let mut events = Vec::new();
        for root in
            [members.then_some(self.members_root), others.then_some(self.other_root)].into_iter().flatten()
        {
            events.extend(reads::state::list(&app.nodes, conn, self.room_nid, root).await?);
        }
        let mut events = events.into_iter().filter_map(|event| self.put_back(event)).collect::<Vec<_>>();
        events.sort_unstable();
        Ok(events)
    }

    /// Before the event, its key was held by what it replaced. An event that never made it into the state is not there
    /// to be taken back.
    fn put_back(&self, event: i64) -> Option<i64> {
        match self.taken_back {
            Some((taken, replaced)) if taken == event => replaced,
            Some(_) | None => Some(event),
        }
    }
}
