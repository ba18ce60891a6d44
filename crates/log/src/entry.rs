//! What readers get.

use bytes::Bytes;

/// Position of a record in its partition.
pub type Offset = u64;

/// Headers of a record: short names and values, such as the trace context.
pub type Headers = Vec<(String, Bytes)>;

/// Bytes of names and values together.
pub(crate) fn headers_size(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// A record as read from a partition.
#[derive(Debug, Clone)]
pub struct Entry<R> {
    /// Partition it was read from.
    pub partition: u32,
    /// Its position there.
    pub offset: Offset,
    /// Its key, as written.
    pub key: Bytes,
    /// Its headers.
    pub headers: Headers,
    /// The bytes as written.
    pub payload: Bytes,
    /// The record, or why the payload is not one. It never stops a reader: whoever reads decides what to do with it.
    pub record: Result<R, prost::DecodeError>,
}

impl<R> Entry<R> {
    /// Returns the value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_ref())
    }

    /// Returns the W3C trace context that the writer sent along, if it is text.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(TRACEPARENT).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Name of the header for the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Returns headers that carry a W3C trace context; none for an empty one.
#[must_use]
pub fn trace_headers(traceparent: &str) -> Headers {
    if traceparent.is_empty() {
        return Vec::new();
    }
    vec![(TRACEPARENT.to_owned(), Bytes::copy_from_slice(traceparent.as_bytes()))]
}
