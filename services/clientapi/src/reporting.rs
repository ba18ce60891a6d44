//! Reports to the operators.

pub(crate) mod report_content;
pub(crate) mod report_room;
pub(crate) mod report_user;
