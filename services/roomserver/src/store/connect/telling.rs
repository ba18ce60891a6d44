//! A stream from Postgres on which each error says its SQLSTATE once more, as its hint.
//!
//! Diesel passes hints on and SQLSTATEs not. Messages of other kinds are passed as they are.
//! [Message formats](https://www.postgresql.org/docs/current/protocol-message-formats.html)

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use diesel::result::{DatabaseErrorInformation, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a hint begins with that is a SQLSTATE.
const MARK: &str = "SQLSTATE ";
/// Tag of `ErrorResponse`.
const ERROR: u8 = b'E';
/// Longest error that is looked at; a longer one is passed as it is.
const MAX_ERROR: usize = 64 * 1024;
/// Bytes of a tag and a length.
const HEAD: usize = 5;
/// Bytes read at once.
const READ: usize = 16 * 1024;

/// Returns the SQLSTATE of an error, if it came from Postgres.
pub(in crate::store) fn sqlstate_of(error: &Error) -> Option<&str> {
    let Error::DatabaseError(_, information) = error else { return None };
    let information: &(dyn DatabaseErrorInformation + Send + Sync) = information.as_ref();
    information.hint()?.strip_prefix(MARK).filter(|code| code.len() == 5)
}

/// Where in the sequence of messages the stream is.
#[derive(Debug)]
enum At {
    /// Before a message.
    Tag,
    /// In the length of a message that is passed: the bytes of it so far.
    Length { bytes: u32, length: u32 },
    /// In a message that is passed: the bytes that are left.
    Body { left: usize },
    /// In an error, which is held back until all of it is here.
    Error,
}

/// The stream.
pub(in crate::store) struct Telling<S> {
    inner: S,
    at: At,
    /// What there is of an error.
    held: BytesMut,
    /// What the reader gets next.
    ready: BytesMut,
    buffer: Box<[u8]>,
}

impl<S> Telling<S> {
    pub(in crate::store) fn new(inner: S) -> Self {
        let buffer = vec![0; READ].into_boxed_slice();
        Self { inner, at: At::Tag, held: BytesMut::new(), ready: BytesMut::new(), buffer }
    }
}

/// Takes bytes from the stream.
fn feed(at: &mut At, held: &mut BytesMut, ready: &mut BytesMut, mut bytes: &[u8]) {
    while let Some(first) = bytes.first().copied() {
        match at {
            At::Tag if first == ERROR => *at = At::Error,
            At::Tag => {
                ready.put_u8(bytes.get_u8());
                *at = At::Length { bytes: 0, length: 0 };
            }
            At::Length { bytes: count, length } => {
                let byte = bytes.get_u8();
                ready.put_u8(byte);
                *length = *length << 8 | u32::from(byte);
                *count += 1;
                if *count == 4 {
                    // The length counts itself.
                    let left = usize::try_from(length.saturating_sub(4)).unwrap_or(usize::MAX);
                    *at = if left == 0 { At::Tag } else { At::Body { left } };
                }
            }
            At::Body { left } => {
                let taken = bytes.len().min(*left);
                ready.extend_from_slice(&bytes[..taken]);
                bytes.advance(taken);
                *left -= taken;
                if *left == 0 {
                    *at = At::Tag;
                }
            }
            At::Error => {
                take(held, &mut bytes, HEAD);
                let Some(length) = held.get(1..HEAD).and_then(|length| length.try_into().ok()) else {
                    continue;
                };
                // The length counts itself, but not the tag.
                let whole = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).max(4);
                if whole > MAX_ERROR {
                    *at = At::Body { left: whole + 1 - held.len() };
                    ready.extend_from_slice(&held.split());
                    continue;
                }
                take(held, &mut bytes, whole + 1);
                if held.len() > whole {
                    tell(&held.split(), ready);
                    *at = At::Tag;
                }
            }
        }
    }
}

/// Moves bytes until there are so many.
fn take(held: &mut BytesMut, bytes: &mut &[u8], wanted: usize) {
    let taken = bytes.len().min(wanted.saturating_sub(held.len()));
    held.extend_from_slice(&bytes[..taken]);
    bytes.advance(taken);
}

/// Passes an error with its SQLSTATE as the hint. Of two hints the reader takes the last.
fn tell(error: &[u8], ready: &mut BytesMut) {
    let fields = error.get(HEAD..).unwrap_or_default();
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
    let Some(code) = code.filter(|code| code.len() == 5 && error.last() == Some(&0)) else {
        ready.extend_from_slice(error);
        return;
    };
    let hint = [b"H".as_slice(), MARK.as_bytes(), code, b"\0"].concat();
    let length = u32::try_from(error.len() - 1 + hint.len()).unwrap_or(u32::MAX);
    ready.put_u8(ERROR);
    ready.put_u32(length);
    ready.extend_from_slice(&error[HEAD..error.len() - 1]);
    ready.extend_from_slice(&hint);
    ready.put_u8(0);
}

impl<S: AsyncRead + Unpin> AsyncRead for Telling<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, at, held, ready, buffer } = self.get_mut();
        while ready.is_empty() {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            feed(at, held, ready, read.filled());
        }
        let taken = ready.len().min(target.remaining());
        target.put_slice(&ready[..taken]);
        ready.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Telling<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    }

    fn passed(bytes: &[u8], step: usize) -> Vec<u8> {
        let (mut at, mut held, mut ready) = (At::Tag, BytesMut::new(), BytesMut::new());
        for piece in bytes.chunks(step) {
            feed(&mut at, &mut held, &mut ready, piece);
        }
        ready.to_vec()
    }

    #[test]
    fn errors_tell_their_sqlstate_and_the_rest_is_passed() {
        let row = message(b'D', b"Exxx\0\0");
        let empty = message(b'1', b"");
        let error = message(ERROR, b"SERROR\0C22P05\0Munsupported\0\0");
        let told = message(ERROR, b"SERROR\0C22P05\0Munsupported\0HSQLSTATE 22P05\0\0");
        let without = message(ERROR, b"SERROR\0Mnone\0\0");
        let bare = message(ERROR, b"");
        let long = message(ERROR, &vec![b'x'; MAX_ERROR]);
        let given =
            [&row, &empty, &error, &row, &without, &bare, &long, &error, &row].map(Vec::as_slice).concat();
        let expected =
            [&row, &empty, &told, &row, &without, &bare, &long, &told, &row].map(Vec::as_slice).concat();
        for step in [1, 3, 7, 1000, given.len()] {
            assert!(passed(&given, step) == expected, "{step}");
        }
    }
}
