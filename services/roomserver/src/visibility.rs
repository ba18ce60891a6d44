//! Decides who may see which event of a room: history visibility as the specification has it.
//!
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility)
//!
//! The rules speak of the viewer's membership at the event. It is decided here by the order of the timeline: the
//! membership in force at an event is that of the viewer's last member event before it. That is exact while the event
//! graph of the room is a line. Where it forks, the state at the event decides: [`MemberHistory::set_exact`] is told it for
//! the events at hand.

use std::collections::HashMap;

/// History visibility in force for an event, as stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HistoryVisibility {
    /// Members see what came after they joined.
    Joined,
    /// Members see what came after they were invited.
    Invited,
    /// Members see all.
    Shared,
    /// Anybody sees all.
    WorldReadable,
}

impl HistoryVisibility {
    /// Reads the column `events.visibility`.
    pub(crate) fn from_column(value: i16) -> Self {
        match value {
            1 => Self::Joined,
            2 => Self::Invited,
            4 => Self::WorldReadable,
            // 3, and what is not set: the specification's default.
            _ => Self::Shared,
        }
    }
}

/// A membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// In the room.
    Join,
    /// Invited to it.
    Invite,
    /// Asking to be invited.
    Knock,
    /// Not in it: left, kicked, or never there.
    Leave,
    /// Banned from it.
    Ban,
}

impl Membership {
    /// Reads a membership; what the specification does not know counts as having left.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "knock" => Self::Knock,
            "ban" => Self::Ban,
            _ => Self::Leave,
        }
    }

    /// As in `m.room.member`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Knock => "knock",
            Self::Leave => "leave",
            Self::Ban => "ban",
        }
    }
}

/// The changes of a viewer's membership in one room, in order of `seq`. Empty for somebody who never had one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemberHistory {
    changes: Vec<(i64, Membership)>,
    /// Times of the joins, with their `seq`.
    joins: Vec<(i64, i64)>,
    last_join: Option<i64>,
    /// Memberships before and after events, from the state at them.
    exact: HashMap<i64, (Membership, Membership)>,
}

impl MemberHistory {
    /// Takes the changes, in order of `seq`, each with its time in milliseconds since the Unix epoch.
    pub(crate) fn new(changes: impl IntoIterator<Item = (i64, Membership, i64)>) -> Self {
        let (mut history, mut joins) = (Vec::new(), Vec::new());
        for (seq, membership, time) in changes {
            history.push((seq, membership));
            if membership == Membership::Join {
                joins.push((time, seq));
            }
        }
        let last_join = joins.last().map(|(_, seq)| *seq);
        Self { changes: history, joins, last_join, exact: HashMap::new() }
    }

    /// The `seq` of the last join that is not after a time.
    fn last_join_until(&self, time: i64) -> Option<i64> {
        self.joins.iter().filter(|(joined, _)| *joined <= time).map(|(_, seq)| *seq).max()
    }

    /// Whether the viewer ever was in the room before a time.
    pub(crate) fn joined_before(&self, time: i64) -> bool {
        self.last_join_until(time).is_some()
    }

    /// Takes the membership before and after an event from the state at it.
    pub(crate) fn set_exact(&mut self, seq: i64, before: Membership, after: Membership) {
        self.exact.insert(seq, (before, after));
    }

    /// The membership in force after the event with this `seq`, the event included.
    pub(crate) fn at(&self, seq: i64) -> Membership {
        if let Some((_, after)) = self.exact.get(&seq) {
            return *after;
        }
        self.in_force(self.changes.partition_point(|(change, _)| *change <= seq))
    }

    /// The membership in force before the event with this `seq`.
    fn before(&self, seq: i64) -> Membership {
        if let Some((before, _)) = self.exact.get(&seq) {
            return *before;
        }
        self.in_force(self.changes.partition_point(|(change, _)| *change < seq))
    }

    /// When the viewer was last in the room and ceased to be: the `seq` of the event that ended it.
    /// `None` for somebody who is in the room, or never was.
    pub(crate) fn departure(&self) -> Option<i64> {
        let last_join = self.last_join?;
        self.changes.iter().map(|(seq, _)| *seq).find(|seq| *seq > last_join)
    }

    /// When the viewer first came into the room after the event with this `seq`.
    pub(crate) fn next_join(&self, seq: i64) -> Option<i64> {
        let later = &self.changes[self.changes.partition_point(|(change, _)| *change <= seq)..];
        later.iter().find(|(_, membership)| *membership == Membership::Join).map(|(seq, _)| *seq)
    }

    /// The first `count` changes have happened.
    fn in_force(&self, count: usize) -> Membership {
        count
            .checked_sub(1)
            .and_then(|last| self.changes.get(last))
            .map_or(Membership::Leave, |(_, last)| *last)
    }
}

/// What decides about an event, beside the viewer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventFacts {
    /// `seq` of the event.
    pub(crate) seq: i64,
    /// History visibility for it; for events that change it, the more open one of before and after.
    pub(crate) visibility: HistoryVisibility,
    /// Whether it is a member event about the viewer.
    pub(crate) own_member: bool,
}

/// Whether the viewer may see the event: those whom a member event removes get to see it, also if they had only been
/// invited or had knocked.
pub(crate) fn may_see(history: &MemberHistory, event: EventFacts) -> bool {
    let removed = || {
        event.own_member
            && matches!(history.at(event.seq), Membership::Leave | Membership::Ban)
            && matches!(history.before(event.seq), Membership::Invite | Membership::Knock)
    };
    may_see_state(history, event) || removed()
}

/// Whether the viewer may see what the room was like at the event: by the rules of the specification alone. Who is told
/// that an invite was taken back is not told what has become of the room.
pub(crate) fn may_see_state(history: &MemberHistory, event: EventFacts) -> bool {
    if event.visibility == HistoryVisibility::WorldReadable {
        return true;
    }
    let before = history.before(event.seq);
    let after = history.at(event.seq);
    // Only their own member events change a viewer's membership, so for all others both are the same.
    [before, after].into_iter().any(|membership| match membership {
        Membership::Join => true,
        Membership::Invite => event.visibility == HistoryVisibility::Invited || joined_later(history, event),
        Membership::Knock | Membership::Leave | Membership::Ban => joined_later(history, event),
    })
}

/// Whether the event is for everybody who joined at any point after it.
fn joined_later(history: &MemberHistory, event: EventFacts) -> bool {
    event.visibility == HistoryVisibility::Shared && history.last_join.is_some_and(|join| join > event.seq)
}

/// Whether a viewer is served the full text of an event whose sender asked at `erased_ts` to be erased: those who were in
/// the room at the event, or came into it later but before the sender asked. Others get what redaction leaves of it.
///
/// It tells nothing of whether the viewer may see the event at all. A server stands as its users do.
///
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate)
pub(crate) fn may_see_erased(history: &MemberHistory, seq: i64, erased_ts: i64) -> bool {
    [history.before(seq), history.at(seq)].contains(&Membership::Join)
        || history.last_join_until(erased_ts).is_some_and(|join| join > seq)
}

#[cfg(test)]
pub(crate) mod tests;
