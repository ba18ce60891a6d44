//! Media: uploads, downloads, thumbnails, media of other servers and URL previews.
//!
//! Bytes are blobs in a [`plexus_media_store::Store`], addressed by their hash; which media is which blob is kept by the
//! room server, which is asked for each request and changed by commands. A blob is stored before the command that names it
//! is written, and clients are answered after its verdict.
//!
//! Everything streams: no request holds more than some pieces of a blob. What strangers have sent is decoded only here, in
//! `thumbnail`, and only if its first bytes say that it is an image of four formats.

mod app;
mod disposition;
mod endpoint;
mod evict;
mod file_service;
mod id;
mod metrics;
mod preview;
mod range;
mod receive;
mod remote;
mod routes;
mod rows;
mod serve;
mod sweep;
mod thumbnail;
mod uploads;

pub use app::{Deps, Media};
pub use routes::router;
