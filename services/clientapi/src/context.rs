//! Events in their context.

pub(crate) mod get_context;
