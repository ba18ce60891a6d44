//! What was acknowledged, and whether it can be read.

use std::collections::{HashMap, HashSet};

use crate::client::User;

/// Acknowledged messages: number and event ID.
pub(crate) type Acknowledged = HashMap<u64, String>;

/// What became of acknowledged messages.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged and never seen.
    pub(crate) lost: u64,
    /// Seen under more than one event ID, or more than once.
    pub(crate) duplicates: u64,
}

/// Reads the whole history of a room by `/messages` and looks for what was acknowledged there.
pub(crate) async fn history(
    reader: &User,
    room: &str,
    acknowledged: &Acknowledged,
) -> anyhow::Result<Verdict> {
    let (mut numbers, mut ids) = (HashSet::new(), HashSet::new());
    let (mut duplicates, mut from) = (0, None::<String>);
    loop {
        let page = reader.messages(room, from.as_deref()).await?;
        for event in &page.chunk {
            let Some(number) = event.number() else { continue };
            if !numbers.insert(number) {
                duplicates += 1;
            }
            ids.insert(event.event_id.clone());
        }
        match page.end {
            Some(end) if Some(&end) != from.as_ref() && !page.chunk.is_empty() => from = Some(end),
            Some(_) | None => break,
        }
    }
    let lost = acknowledged.values().filter(|id| !ids.contains(*id)).count() as u64;
    Ok(Verdict { lost, duplicates })
}
