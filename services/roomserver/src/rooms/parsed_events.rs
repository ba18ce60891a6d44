//! Stored events as they were parsed for one record: its decisions and resolutions look at the same ones again and again.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use plexus_events::{Pdu, PduError};

use super::{
    event::{StoredEvent, flags},
    ids::EventNid,
};

/// Most events that are kept.
const MAX_KEPT: usize = 4096;

/// Events that were parsed.
#[derive(Debug, Default)]
pub(crate) struct ParsedEvents(Mutex<HashMap<EventNid, Parsed>>);

#[derive(Debug)]
struct Parsed {
    /// What was parsed. As long as it is held, nothing else has its address.
    json: Bytes,
    rejected: bool,
    pdu: Arc<Pdu>,
}

impl ParsedEvents {
    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Parses an event, unless it was parsed before as it is.
    pub(super) fn parse(&self, event: &StoredEvent) -> Result<Arc<Pdu>, PduError> {
        let rejected = event.flags & flags::REJECTED != 0;
        let mut kept = self.0.lock();
        if let Some(parsed) = kept.get(&event.nid)
            && parsed.json.as_ptr() == event.json.as_ptr()
            && parsed.rejected == rejected
        {
            return Ok(Arc::clone(&parsed.pdu));
        }
        let pdu = Arc::new(Pdu::from_checked(event.event_id.clone(), &event.json, rejected)?);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(event.nid, Parsed { json: event.json.clone(), rejected, pdu: Arc::clone(&pdu) });
        Ok(pdu)
    }
}
