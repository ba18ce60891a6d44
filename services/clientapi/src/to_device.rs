//! Messages to devices.

pub(crate) mod send_event_to_device;
