//! Extensions of sliding sync: account data, receipts, typing; those for encryption are apart.

pub(super) mod encryption;

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use ruma::{EventId, OwnedRoomId};
use serde_json::value::RawValue;

use super::{
    plan::Chosen,
    pos::scope,
    response::{AccountData, Extensions, OfRooms},
    section::Section,
};
use crate::{
    endpoint::{
        answer::push_rules,
        context::{Context, Problem, data_event},
        ephemeral,
    },
    view::{Membership, PUSH_RULES},
};

/// What extensions tell of one room.
#[derive(Debug, Default)]
pub(super) struct OfRoom {
    account_data: Vec<Arc<RawValue>>,
    receipts: Option<Arc<RawValue>>,
    typing: Option<Arc<RawValue>>,
}

/// Collects what extensions tell of a room.
pub(super) fn of_room(context: &Context<'_>, chosen: &Chosen, section: &Section) -> Result<OfRoom, Problem> {
    let scopes = chosen.wish.scopes;
    let data = chosen.account_data.iter().filter_map(|(kind, content)| data_event(kind, content));
    let mut of_room = OfRoom { account_data: data.collect(), ..OfRoom::default() };
    if chosen.candidate.now.membership != Membership::Join {
        return Ok(of_room);
    }
    let in_full = |extension: u8| section.anew || chosen.grown & extension != 0;
    if scopes & scope::RECEIPTS != 0 {
        of_room.receipts = receipts(context, chosen, section, in_full(scope::RECEIPTS))?;
    }
    if scopes & scope::TYPING != 0 {
        of_room.typing = ephemeral::typing(context, &chosen.candidate.room, !in_full(scope::TYPING))?;
    }
    Ok(of_room)
}

/// Of a room that is told anew: the receipts of the user, and those at the events of the timeline. Of one that was told
/// without its receipts: all.
fn receipts(
    context: &Context<'_>,
    chosen: &Chosen,
    section: &Section,
    in_full: bool,
) -> Result<Option<Arc<RawValue>>, Problem> {
    let shown: HashSet<&EventId> = section.timeline.events.iter().map(|seen| &*seen.event.id).collect();
    let read = chosen.candidate.room.read(|view| {
        let since = chosen.since.filter(|_| !in_full).unwrap_or(0);
        let all = view.receipts().between(since, section.end).filter(|receipt| {
            !section.anew || receipt.user == context.user_id() || shown.contains(&*receipt.event_id)
        });
        ephemeral::receipts(context, all).1
    });
    read.ok_or(Problem::Gone)
}

/// Global account data. Who changed no push rules has the predefined ones.
pub(super) fn global(
    context: &Context<'_>,
    mut data: Vec<(String, Bytes)>,
    in_full: bool,
) -> Vec<Arc<RawValue>> {
    if in_full && context.attention.rules_seq == 0 {
        data.push((PUSH_RULES.to_owned(), Bytes::new()));
    }
    let events = data.iter().filter_map(|(kind, content)| match kind.as_str() {
        PUSH_RULES => push_rules(context),
        _ => data_event(kind, content),
    });
    events.collect()
}

impl Extensions {
    /// What is told of rooms and accounts if all extensions of `on` are.
    pub(super) fn of(on: u8) -> Self {
        let is_on = |extension: u8| on & extension != 0;
        Self {
            to_device: None,
            e2ee: None,
            account_data: is_on(scope::ACCOUNT_DATA).then(AccountData::default),
            receipts: is_on(scope::RECEIPTS).then(OfRooms::default),
            typing: is_on(scope::TYPING).then(OfRooms::default),
        }
    }

    /// Adds what is told of a room.
    pub(super) fn add(&mut self, room: &OwnedRoomId, of_room: OfRoom) {
        if let Some(data) = self.account_data.as_mut().filter(|_| !of_room.account_data.is_empty()) {
            data.rooms.insert(room.clone(), of_room.account_data);
        }
        for (part, event) in [(&mut self.receipts, of_room.receipts), (&mut self.typing, of_room.typing)] {
            if let (Some(part), Some(event)) = (part, event) {
                part.rooms.insert(room.clone(), event);
            }
        }
    }
}
