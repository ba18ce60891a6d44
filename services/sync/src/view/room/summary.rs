//! The summary of a room: counts of members and heroes.

use std::collections::HashMap;

use ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use super::{Changed, MEMBER, RoomView};
use crate::{limits, view::Membership};

/// Counts of members and heroes, in place of the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) joined: u64,
    pub(crate) invited: u64,
    /// Users to name a nameless room after; unset for a room that has a name.
    pub(crate) heroes: Option<Vec<OwnedUserId>>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    alias: Option<String>,
}

impl RoomView {
    /// Counts and heroes at a position that is known.
    pub(crate) fn summary_at(&self, position: u64, viewer: &UserId) -> Summary {
        let later = self.changed(position, u64::MAX);
        let (mut joined, mut invited) = (self.joined, self.invited);
        for ((kind, _), change) in &later {
            if *kind != MEMBER {
                continue;
            }
            for (side, by) in [(&change.new, -1), (&change.old, 1)] {
                match side.as_ref().and_then(|event| event.membership) {
                    Some(Membership::Join) => joined = joined.saturating_add_signed(by),
                    Some(Membership::Invite) => invited = invited.saturating_add_signed(by),
                    Some(Membership::Leave | Membership::Ban | Membership::Knock) | None => {}
                }
            }
        }
        Summary { joined, invited, heroes: (!self.is_named(position)).then(|| self.heroes(&later, viewer)) }
    }

    fn is_named(&self, position: u64) -> bool {
        let is_filled = |text: Option<String>| text.is_some_and(|text| !text.is_empty());
        ["m.room.name", "m.room.canonical_alias"].into_iter().any(|kind| {
            let named = self.get_at(kind, "", position).and_then(|event| event.read_content::<Named>());
            named.is_some_and(|named| is_filled(named.name) || is_filled(named.alias))
        })
    }

    /// The members who had been there longest before these changes; if there are none beside the viewer, those who had
    /// left.
    fn heroes(&self, later: &HashMap<(&str, &str), Changed>, viewer: &UserId) -> Vec<OwnedUserId> {
        let current = self.members.iter().map(|(user, event)| (user.as_str(), event));
        let as_now = current.filter(|(user, _)| !later.contains_key(&(MEMBER, *user)));
        let undone = later
            .iter()
            .filter(|((kind, _), _)| *kind == MEMBER)
            .filter_map(|((_, user), changed)| changed.old.as_ref().map(|event| (*user, event)));
        let (mut present, mut gone) = (Vec::new(), Vec::new());
        for (user, event) in as_now.chain(undone).filter(|(user, _)| *user != viewer.as_str()) {
            match event.membership {
                Some(Membership::Join | Membership::Invite) => keep_first(&mut present, event.seq, user),
                Some(Membership::Leave | Membership::Ban) => keep_first(&mut gone, event.seq, user),
                Some(Membership::Knock) | None => {}
            }
        }
        let first = if present.is_empty() { gone } else { present };
        first.into_iter().filter_map(|(_, user)| OwnedUserId::try_from(user).ok()).collect()
    }
}

/// Keeps the few with the smallest `seq`, in order.
fn keep_first<'a>(first: &mut Vec<(u64, &'a str)>, seq: u64, user: &'a str) {
    let place = first.partition_point(|known| *known < (seq, user));
    if place < limits::HEROES {
        first.insert(place, (seq, user));
        first.truncate(limits::HEROES);
    }
}
