//! Names of the media service's metrics.

const BYTES: &str = "plexus_media_bytes_total";
const THUMBNAILS: &str = "plexus_media_thumbnails_total";
const REMOTE: &str = "plexus_media_remote_total";
const SWEPT: &str = "plexus_media_swept_total";

pub(crate) fn describe() {
    metrics::describe_counter!(BYTES, "Bytes of media, by direction");
    metrics::describe_counter!(THUMBNAILS, "Thumbnails that were asked for and not there, by outcome");
    metrics::describe_counter!(REMOTE, "Media of other servers that was fetched, by outcome");
    metrics::describe_counter!(SWEPT, "Blobs that nobody names, by what was done with them");
}

pub(crate) fn stored(bytes: u64) {
    metrics::counter!(BYTES, "direction" => "stored").increment(bytes);
}

pub(crate) fn served(bytes: u64) {
    metrics::counter!(BYTES, "direction" => "served").increment(bytes);
}

pub(crate) fn thumbnail(outcome: &'static str) {
    metrics::counter!(THUMBNAILS, "outcome" => outcome).increment(1);
}

pub(crate) fn remote(outcome: &'static str) {
    metrics::counter!(REMOTE, "outcome" => outcome).increment(1);
}

pub(crate) fn swept(what: &'static str, count: u64) {
    metrics::counter!(SWEPT, "what" => what).increment(count);
}
