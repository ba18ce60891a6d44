//! Entries of a topic, as readers get them.

use bytes::Bytes;

/// Position of a record in its partition.
pub type Offset = u64;

/// Headers of a record: short names and values.
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
}
