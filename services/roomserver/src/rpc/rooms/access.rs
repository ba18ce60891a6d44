//! Decides what a user may see of a room as a whole.

use diesel_async::AsyncPgConnection;
use serde::Deserialize;
use tonic::Status;

use super::encode::Reader;
use crate::{
    app::App,
    rpc::check::{self, failed, forbidden, room_unknown},
    store::{StoreError, reads, reads::rooms::RoomRow},
    visibility::{EventFacts, HistoryVisibility, MemberHistory, Membership, may_see, may_see_state},
};

/// A room as seen by somebody.
#[derive(Debug)]
pub(crate) struct View {
    /// The room now.
    pub(crate) room: RoomRow,
    /// The user on whose behalf it is read; `None` for a service, which may see everything.
    pub(crate) viewer: Option<Viewer>,
}

/// A user who looks at a room.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(super) user_id: String,
    pub(super) history: MemberHistory,
    /// How the user stands to the room.
    pub(crate) access: Access,
    /// `seq` of the event that last ended a time in which anybody could read the room; unset for those who see the room as
    /// it is now.
    public_until: Option<i64>,
}

/// How a user stands to a room that they may see something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Joined now.
    Member,
    /// Was joined and is no more: sees the room as it was when they left.
    Departed {
        /// `seq` of the event that ended their stay.
        seq: i64,
        /// Whether anybody may read the room now.
        open: bool,
    },
    /// Anybody: the room is world-readable.
    Anyone,
    /// Anybody: the room was world-readable and is no more. What was said then stays readable, and nothing else.
    Stranger,
}

impl Access {
    /// Whether the user may see what the room is like now.
    pub(crate) fn sees_now(self) -> bool {
        match self {
            Self::Member | Self::Anyone => true,
            Self::Departed { open, .. } => open,
            Self::Stranger => false,
        }
    }
}

impl View {
    /// On whose behalf events are read.
    pub(super) fn reader(&self) -> Option<Reader<'_>> {
        self.viewer.as_ref().map(|viewer| Reader { user_id: &viewer.user_id, history: &viewer.history })
    }

    /// When the viewer, if they are in the room now, first came into it after the event with this `seq`.
    pub(super) fn next_join(&self, seq: i64) -> Option<i64> {
        let viewer = self.viewer.as_ref()?;
        viewer.history.next_join(seq).filter(|_| viewer.access == Access::Member)
    }

    /// The last position that the viewer may see: one who has left sees nothing that came later, unless everybody does or
    /// did.
    pub(super) fn end(&self) -> Option<i64> {
        let viewer = self.viewer.as_ref()?;
        match viewer.access {
            Access::Departed { seq, open: false } => Some(viewer.public_until.unwrap_or(seq).max(seq)),
            Access::Stranger => viewer.public_until,
            Access::Departed { open: true, .. } | Access::Member | Access::Anyone => None,
        }
    }

    /// Whether the viewer may see an event of the room. Services may see all.
    pub(super) fn may_see(&self, facts: &Facts<'_>) -> bool {
        self.viewer.as_ref().is_none_or(|viewer| facts.visible_to(&viewer.user_id, &viewer.history))
    }
}

/// What of an event decides who may see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) seq: Option<i64>,
    pub(super) event_type: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) flags: i32,
    pub(super) visibility: i16,
}

impl Facts<'_> {
    /// Whether a user may see the event.
    pub(super) fn visible_to(&self, user_id: &str, history: &MemberHistory) -> bool {
        self.allowed(user_id, history, may_see)
    }

    /// Whether a user may see what the room was like at the event.
    pub(super) fn state_visible_to(&self, user_id: &str, history: &MemberHistory) -> bool {
        self.allowed(user_id, history, may_see_state)
    }

    fn allowed(
        &self,
        user_id: &str,
        history: &MemberHistory,
        rule: fn(&MemberHistory, EventFacts) -> bool,
    ) -> bool {
        let Some(seq) = self.seq else { return false };
        if self.flags & reads::events::HIDDEN != 0 {
            return false;
        }
        let own_member = self.event_type == "m.room.member" && self.state_key == Some(user_id);
        let visibility = HistoryVisibility::from_column(self.visibility);
        rule(history, EventFacts { seq, visibility, own_member })
    }
}

/// Finds a room as a user may see it; an empty viewer is a service.
///
/// Refused if the user may see nothing of it. A user who has forgotten the room counts as somebody who never was in it.
pub(crate) async fn view(
    app: &App,
    conn: &AsyncPgConnection,
    room_id: &str,
    viewer: &str,
) -> Result<View, Status> {
    check::room_id("room_id", room_id)?;
    check::storable("room_id", room_id)?;
    if viewer.is_empty() {
        let rooms = reads::rooms::find(conn, "", room_id).await.map_err(|error| failed(&error))?;
        let room = rooms.into_iter().next().ok_or_else(room_unknown)?;
        return Ok(View { room, viewer: None });
    }
    check::user_id("viewer", viewer)?;
    check::storable("viewer", viewer)?;
    let (rooms, changes) = futures::try_join!(
        reads::rooms::find(conn, viewer, room_id),
        reads::members::list_changes(conn, viewer, room_id)
    )
    .map_err(|error| failed(&error))?;
    let Some(room) = rooms.into_iter().next() else { return Err(nothing_to_see()) };
    let forgotten = room.forgotten.unwrap_or(false);
    let history = if forgotten { MemberHistory::default() } else { history_of(&changes) };
    let mut public_until = None;
    let access = if room.membership.as_deref() == Some("join") {
        Access::Member
    } else {
        let open = is_world_readable(app, conn, &room).await.map_err(|error| failed(&error))?;
        if !open {
            let last = reads::timeline::find_end_of_public(conn, &room.room_nid).await;
            public_until = last.map_err(|error| failed(&error))?.into_iter().next().map(|(seq,)| seq);
        }
        match history.departure() {
            Some(seq) => Access::Departed { seq, open },
            None if open => Access::Anyone,
            None if public_until.is_some() => Access::Stranger,
            None => return Err(nothing_to_see()),
        }
    };
    Ok(View { room, viewer: Some(Viewer { user_id: viewer.to_owned(), history, access, public_until }) })
}

/// Reads a history from its rows.
pub(super) fn history_of<'a>(
    changes: impl IntoIterator<Item = &'a reads::members::ChangeRow>,
) -> MemberHistory {
    MemberHistory::new(changes.into_iter().map(|change| {
        let membership = change.membership.as_deref().map_or(Membership::Leave, Membership::parse);
        (change.seq, membership, change.ts)
    }))
}

/// Whether anybody may read the room now.
async fn is_world_readable(app: &App, conn: &AsyncPgConnection, room: &RoomRow) -> Result<bool, StoreError> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        history_visibility: Option<String>,
    }
    let key = [("m.room.history_visibility", "")];
    let found = reads::state::find(&app.nodes, conn, room.room_nid, room.other_root, &key).await?;
    let nids = found.into_iter().flatten().collect::<Vec<_>>();
    if nids.is_empty() {
        return Ok(false);
    }
    let events = reads::events::list(conn, &false, &nids).await?;
    // A value of another type counts as none, and none as shared.
    Ok(events
        .first()
        .and_then(|row| serde_json::from_slice::<Event>(&row.json).ok())
        .is_some_and(|event| event.content.history_visibility.as_deref() == Some("world_readable")))
}

pub(super) fn nothing_to_see() -> Status {
    forbidden("you are not a member of the room, and were not before")
}
