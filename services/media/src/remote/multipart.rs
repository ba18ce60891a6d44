//! Reading `multipart/mixed` with bounds: a part of JSON, then a part of bytes.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{error::RemoteError, open::Pieces};

/// Most bytes of what stands before the first part, of the headers of a part, and of the part with JSON.
const MAX_PREAMBLE: usize = 8 * 1024;
const MAX_HEADERS: usize = 8 * 1024;
const MAX_JSON: usize = 64 * 1024;
/// Most headers of a part.
const MAX_FIELDS: usize = 32;

/// A body of parts, as it comes.
pub(super) struct Multipart {
    source: Pieces,
    buffer: BytesMut,
    delimiter: Vec<u8>,
    has_begun: bool,
}

impl Multipart {
    pub(super) fn new(source: Pieces, boundary: &str) -> Self {
        // The first delimiter may stand at the beginning.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Self { source, buffer, delimiter: format!("\r\n--{boundary}").into_bytes(), has_begun: false }
    }

    /// Skips a part, which has to be small.
    pub(super) async fn skip_part(&mut self) -> Result<(), RemoteError> {
        self.next_headers().await?;
        self.find_delimiter(MAX_JSON, "its first part").await
    }

    /// Reads the headers of the next part.
    pub(super) async fn next_headers(&mut self) -> Result<HeaderMap, RemoteError> {
        if !self.has_begun {
            self.find_delimiter(MAX_PREAMBLE, "what stands before its parts").await?;
            self.has_begun = true;
        }
        // After the delimiter: two dashes at the end of all, or the end of the line.
        let line = self.line().await?;
        if line.starts_with(b"--") {
            return Err(malformed("it has too few parts"));
        }
        if !line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(malformed("a boundary is followed by something"));
        }
        let mut headers = HeaderMap::new();
        let mut length = 0;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(headers);
            }
            length += line.len();
            if length > MAX_HEADERS || headers.len() >= MAX_FIELDS {
                return Err(malformed("the headers of a part are too long"));
            }
            let colon =
                line.iter().position(|byte| *byte == b':').ok_or_else(|| malformed("a header is none"))?;
            let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| malformed("a header is none"))?;
            let value = line[colon + 1..].trim_ascii();
            headers.insert(name, HeaderValue::from_bytes(value).map_err(|_| malformed("a header is none"))?);
        }
    }

    /// The bytes of the part whose headers were read. It has to be the last one, and to end as parts do.
    pub(super) fn into_pieces(self) -> Pieces {
        stream::try_unfold(Some(self), |parts| async move {
            let Some(mut parts) = parts else { return Ok(None) };
            loop {
                if let Some(at) = find(&parts.buffer, &parts.delimiter) {
                    let piece = parts.buffer.split_to(at).freeze();
                    parts.drop_delimiter();
                    if !parts.line_or_end().await?.starts_with(b"--") {
                        return Err(malformed("it has more than two parts"));
                    }
                    return Ok(if piece.is_empty() { None } else { Some((piece, None)) });
                }
                // The end of what is there may be the beginning of a delimiter.
                let safe = (parts.buffer.len() + 1).saturating_sub(parts.delimiter.len());
                if safe > 0 {
                    let piece: Bytes = parts.buffer.split_to(safe).freeze();
                    return Ok(Some((piece, Some(parts))));
                }
                parts.fill().await?;
            }
        })
        .boxed()
    }

    async fn fill(&mut self) -> Result<(), RemoteError> {
        match self.source.next().await {
            Some(piece) => {
                self.buffer.extend_from_slice(&piece?);
                Ok(())
            }
            None => Err(malformed("it ends early")),
        }
    }

    fn drop_delimiter(&mut self) {
        drop(self.buffer.split_to(self.delimiter.len()));
    }

    /// Drops everything up to the next delimiter, and it.
    async fn find_delimiter(&mut self, max: usize, what: &str) -> Result<(), RemoteError> {
        loop {
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                drop(self.buffer.split_to(at));
                self.drop_delimiter();
                return Ok(());
            }
            if self.buffer.len() > max {
                return Err(malformed(&format!("{what} is too long")));
            }
            self.fill().await?;
        }
    }

    /// Reads a line.
    async fn line(&mut self) -> Result<Bytes, RemoteError> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(at).freeze();
                drop(self.buffer.split_to(2));
                return Ok(line);
            }
            if self.buffer.len() > MAX_HEADERS {
                return Err(malformed("a line is too long"));
            }
            self.fill().await?;
        }
    }

    /// What follows on the last delimiter: some leave out the end of the line.
    async fn line_or_end(&mut self) -> Result<Bytes, RemoteError> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(2).freeze())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == needle[0]) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn malformed(why: &str) -> RemoteError {
    RemoteError::Failed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    async fn read(body: &[u8], step: usize) -> Result<(HeaderMap, Vec<u8>), RemoteError> {
        let pieces: Vec<_> = body.chunks(step).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut parts = Multipart::new(stream::iter(pieces).boxed(), "xyz");
        parts.skip_part().await?;
        let headers = parts.next_headers().await?;
        let bytes: Vec<Bytes> = parts.into_pieces().try_collect().await?;
        Ok((headers, bytes.concat()))
    }

    #[tokio::test]
    async fn two_parts_are_read_however_they_come() {
        let body =
            b"--xyz\r\nContent-Type: application/json\r\n\r\n{}\r\n--xyz\r\nContent-Type: text/plain\r\n\r\n\
                     one\r\n--xy\r\n-two\r\n--xyz--\r\n";
        for step in 1..body.len() {
            let (headers, bytes) = read(body, step).await.unwrap();
            assert_eq!(headers["content-type"], "text/plain");
            assert_eq!(bytes, b"one\r\n--xy\r\n-two", "{step}");
        }
        let bare = b"preamble\r\n--xyz \r\n\r\n\r\n--xyz\r\n\r\n\r\n--xyz--";
        assert_eq!(read(bare, 5).await.unwrap().1, b"");
    }

    #[tokio::test]
    async fn what_is_cut_or_endless_is_refused() {
        let head = b"--xyz\r\n\r\n{}\r\n--xyz\r\n\r\nbytes".to_vec();
        let with = |end: &[u8]| [&head[..], end].concat();
        for body in [
            Vec::new(),
            b"no parts at all".to_vec(),
            head.clone(),
            with(b"\r\n--xyz"),
            with(b"\r\n--xyz\r\n\r\nmore\r\n--xyz--"),
            b"--xyz\r\n\r\n{}\r\n--xyz--".to_vec(),
            b"--xyzz\r\n\r\n{}\r\n--xyz\r\n\r\n\r\n--xyz--".to_vec(),
            b"--xyz\r\nnonsense\r\n\r\n{}\r\n--xyz\r\n\r\n\r\n--xyz--".to_vec(),
            vec![b'a'; 100_000],
            [&b"--xyz\r\n"[..], &vec![b'a'; 100_000]].concat(),
            [&b"--xyz\r\n\r\n"[..], &vec![b'a'; 1_000_000]].concat(),
            [&b"--xyz\r\n"[..], &b"a: b\r\n".repeat(10_000)].concat(),
        ] {
            for step in [1_000, 64 * 1024] {
                assert!(read(&body, step).await.is_err(), "{:?}", &body[..body.len().min(60)]);
            }
        }
    }
}
