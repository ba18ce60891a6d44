//! Following the output logs.

mod follower;
mod live;
mod rooms;
mod users;

pub(crate) use follower::Follower;
pub(crate) use live::Live;
pub(crate) use rooms::Rooms;
pub(crate) use users::Users;
