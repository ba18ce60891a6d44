//! Rooms that the user is invited to, or asks to be let into.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{
        plan::{Chosen, Outcome},
        response::Room,
    },
    Section, nothing,
};
use crate::endpoint::{
    context::{Context, Problem},
    invited,
};

/// Most bytes of stripped state that are told: others write it.
const MAX_STRIPPED: usize = 64 * 1024;

#[derive(Deserialize)]
struct Stripped {
    #[serde(rename = "type")]
    kind: String,
    content: Named,
}

#[derive(Default, Deserialize)]
struct Named {
    name: Option<serde_json::Value>,
    url: Option<serde_json::Value>,
}

/// Makes the section.
pub(super) async fn outside(context: &Context<'_>, chosen: &Chosen) -> Result<Section, Problem> {
    let candidate = &chosen.candidate;
    let mut stripped = invited::stripped_state(context, candidate).await?.events;
    let mut bytes = 0;
    stripped.retain(|event| {
        bytes += event.get().len();
        bytes <= MAX_STRIPPED
    });
    let named = |kind: &str, of: fn(Named) -> Option<serde_json::Value>| named(&stripped, kind, of);
    let room = Room {
        initial: true,
        membership: candidate.now.membership,
        lists: chosen.lists.clone(),
        name: Some(named("m.room.name", |content| content.name)),
        avatar: Some(named("m.room.avatar", |content| content.url)),
        heroes: None,
        is_dm: chosen.is_direct,
        bump_stamp: chosen.bump,
        joined_count: None,
        invited_count: None,
        counts: None,
        required_state: Vec::new(),
        timeline: None,
        stripped_state: Some(stripped),
    };
    Ok(Section {
        room_id: candidate.room.id.clone(),
        room: Some(room),
        timeline: nothing(),
        end: candidate.now.seq,
        anew: true,
        outcome: Outcome { answered: true, state_changed: true },
    })
}

/// What the room is called, as far as the stripped state makes sense.
fn named(
    stripped: &[Arc<RawValue>],
    kind: &str,
    of: fn(Named) -> Option<serde_json::Value>,
) -> Option<String> {
    let read = stripped.iter().filter_map(|event| serde_json::from_str::<Stripped>(event.get()).ok());
    let content = read.filter(|event| event.kind == kind).map(|event| event.content).next()?;
    of(content)?.as_str().map(str::to_owned)
}
