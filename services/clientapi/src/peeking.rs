//! `/initialSync` and `/events` (deprecated): room previews.

pub(crate) mod get_one_event;
pub(crate) mod initial_sync;
pub(crate) mod room_initial_sync;
