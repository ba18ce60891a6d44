//! The worker on a real Postgres and the in-process log.

mod abandoned;
mod aside;
mod backups;
mod chains;
mod deferred;
mod dump;
mod fixture;
mod guests;
mod hostile;
mod inboxes;
mod keys;
mod live;
mod member_jobs;
mod operators;
mod ownership;
mod receipts;
mod received;
mod relations;
mod restricted;
mod retention;
mod sends;
mod servers;
mod sessions;
mod upgrades;
mod users;
mod values;
