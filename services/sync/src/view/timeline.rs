//! Reading the recent timeline of a room backwards, as a member may see it.

use std::{collections::HashSet, sync::Arc};

use ruma::UserId;

use super::{Event, MEMBER, Membership, RoomView};
use crate::limits;

/// An event, and what the viewer was in the room then.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) event: Arc<Event>,
    pub(crate) membership: Membership,
    /// Whether other events may have made something of it that is told with it.
    pub(crate) related: bool,
}

/// Types of relations that are told with the event related to.
const BUNDLED: [&str; 3] = ["m.replace", "m.reference", "m.thread"];

/// What a walk back through a timeline found.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Oldest first.
    pub(crate) events: Vec<Seen>,
    pub(crate) rest: Rest,
}

/// All that a viewer may see of a part of a timeline, before a filter looks at it: without the lock of the room, because
/// filters are users'.
#[derive(Debug)]
pub(crate) struct Visible {
    /// Newest first.
    events: Vec<Seen>,
    /// What lies before them.
    rest: Beyond,
}

#[derive(Debug, Clone, Copy)]
enum Beyond {
    Nothing,
    More,
    Unknown { from: u64 },
}

/// What lies before the events of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing: these are all.
    Complete,
    /// More.
    Limited,
    /// Only the room server knows: what is in memory ends here, or the viewer was not in the room, so that history
    /// visibility decides. Events with a `seq` up to `from` are to be asked for.
    Ask { from: u64, missing: usize },
}

impl Visible {
    /// Chooses the last `limit` events that are wanted, fewer if they are large.
    pub(crate) fn choose(self, limit: usize, wanted: impl Fn(&Event) -> bool) -> Walk {
        let mut chosen = Vec::with_capacity(limit.min(32));
        let (mut is_limited, mut bytes) = (false, 0);
        for seen in self.events {
            if !wanted(&seen.event) {
                continue;
            }
            bytes += seen.event.json.len();
            let is_full = bytes > limits::TIMELINE_ANSWER_BYTES && !chosen.is_empty();
            if chosen.len() == limit || is_full {
                is_limited = true;
                break;
            }
            chosen.push(seen);
        }
        chosen.reverse();
        let rest = match (is_limited, self.rest) {
            (true, _) | (false, Beyond::More) => Rest::Limited,
            (false, Beyond::Nothing) => Rest::Complete,
            (false, Beyond::Unknown { from }) => match limit - chosen.len() {
                0 => Rest::Limited,
                missing => Rest::Ask { from, missing },
            },
        };
        Walk { events: chosen, rest }
    }
}

impl RoomView {
    /// Collects what a viewer sees of the events in (`lower`, `upper`], from the last one on, and no more than `most`.
    ///
    /// Only for a viewer who is joined at `upper`.
    pub(crate) fn visible(&self, viewer: &UserId, (lower, upper): (u64, u64), most: usize) -> Visible {
        let mut events = Vec::with_capacity(most.min(32));
        let rest = self.collect(viewer, (lower, upper), most, &mut events);
        Visible { events, rest }
    }

    /// Events of which others in memory may have made something that is told with them.
    pub(crate) fn related(&self) -> HashSet<&str> {
        self.timeline.iter().filter_map(|event| makes_something_of(event)).collect()
    }

    fn collect(
        &self,
        viewer: &UserId,
        (lower, upper): (u64, u64),
        most: usize,
        events: &mut Vec<Seen>,
    ) -> Beyond {
        if !self.knows(upper) {
            return Beyond::Unknown { from: upper };
        }
        let membership_of = |event: Option<&Arc<Event>>| {
            event.and_then(|event| event.membership).unwrap_or(Membership::Leave)
        };
        let mut membership = membership_of(self.get_at(MEMBER, viewer.as_str(), upper));
        let mut own = self
            .changes
            .iter()
            .rev()
            .filter(|change| {
                change.seq <= upper && change.kind == MEMBER && change.state_key == viewer.as_str()
            })
            .peekable();
        let end = self.timeline.partition_point(|event| event.seq <= upper);
        // What relates to an event comes after it, so it is known by the time the walk gets there.
        let mut related = HashSet::new();
        for event in self.timeline.range(..end).rev() {
            if event.seq <= lower {
                return Beyond::Nothing;
            }
            // The membership after the event.
            while let Some(change) = own.next_if(|change| change.seq > event.seq) {
                membership = membership_of(change.old.as_ref());
            }
            let is_related = related.contains(event.id.as_str());
            related.extend(makes_something_of(event));
            let mut removed = || {
                let before = own.peek().filter(|change| change.seq == event.seq);
                let before = before.map_or(membership, |change| membership_of(change.old.as_ref()));
                before == Membership::Join
                    || matches!(before, Membership::Invite | Membership::Knock)
                        && matches!(membership, Membership::Leave | Membership::Ban)
            };
            let visible =
                event.shared || membership == Membership::Join || event.is_membership_of(viewer) && removed();
            if !visible || !self.knows(event.seq.saturating_sub(1)) {
                return Beyond::Unknown { from: event.seq };
            }
            if events.len() == most {
                return Beyond::More;
            }
            events.push(Seen { event: Arc::clone(event), membership, related: is_related });
            // What lies before a gap is not told with what comes after it.
            if event.gap_before {
                return Beyond::More;
            }
        }
        if self.timeline_floor <= lower {
            Beyond::Nothing
        } else {
            Beyond::Unknown { from: self.timeline_floor }
        }
    }
}

/// The event that the event relates to in a way that is told with that one.
fn makes_something_of(event: &Event) -> Option<&str> {
    let relation = event.relation().filter(|to| BUNDLED.contains(&to.rel_type.as_str()))?;
    Some(relation.event_id.as_str())
}
