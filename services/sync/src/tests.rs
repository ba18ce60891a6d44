//! The service against a room server that is played by [`world`], and the in-process log.

mod attention;
mod erasure;
mod filter;
mod follow;
mod generations;
mod gone;
mod inbox;
mod incremental;
mod initial;
mod live;
mod load;
mod members;
mod out_of_band;
mod purged;
mod relations;
mod replicas;
mod sessions;
mod sliding;
mod unread;
mod visibility;
mod world;
