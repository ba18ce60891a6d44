//! Asking another server for media.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid)

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, Method, StatusCode, header};
use plexus_outbound::{Fetcher, Limits};
use plexus_s2s::{Call, CallError, Class, Peers};
use url::Url;

use super::{error::RemoteError, multipart::Multipart};
use crate::{
    id::MediaUri,
    receive::{MAX_CONTENT_TYPE, MAX_FILE_NAME},
};

/// How long media may take from where a server sends us, and by how many redirects.
const ELSEWHERE: Duration = Duration::from_secs(600);
const MAX_REDIRECTS: usize = 3;

/// Pieces of media, in order.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>;

/// Media that comes.
pub(super) struct Source {
    pub(super) content_type: String,
    pub(super) file_name: String,
    pub(super) length: Option<u64>,
    pub(super) pieces: Pieces,
}

/// Asks for media: by the signed endpoint, or, of servers that do not have it, by the old one.
pub(super) async fn open(
    peers: &Peers,
    fetcher: &Fetcher,
    uri: &MediaUri,
    wait: Duration,
    max: u64,
) -> Result<Source, RemoteError> {
    let wait_ms = wait.as_millis();
    let path = format!("/_matrix/federation/v1/media/download/{}?timeout_ms={wait_ms}", uri.media_id);
    let opened = match peers.open(call(uri, &path, true)).await {
        Ok(opened) => opened,
        Err(CallError::Refused(refusal))
            if refusal.errcode.as_deref() == Some("M_UNRECOGNIZED")
                || (refusal.status.is_client_error() && refusal.errcode.is_none()) =>
        {
            return open_old(peers, fetcher, uri, wait_ms, max).await;
        }
        Err(error) => return Err(RemoteError::of_call(error)),
    };
    let content_type = text(&opened.headers, header::CONTENT_TYPE);
    let boundary = boundary(&content_type)
        .ok_or_else(|| RemoteError::Failed("it is no multipart/mixed with a boundary".to_owned()))?;
    let mut parts = Multipart::new(opened.pieces().map_err(RemoteError::of_call).boxed(), &boundary);
    parts.skip_part().await?;
    let headers = parts.next_headers().await?;
    if let Some(location) = headers.get(header::LOCATION) {
        let location = location.to_str().unwrap_or_default().to_owned();
        return elsewhere(fetcher, &location, max).await;
    }
    Ok(described(&headers, parts.into_pieces()))
}

async fn open_old(
    peers: &Peers,
    fetcher: &Fetcher,
    uri: &MediaUri,
    wait_ms: u128,
    max: u64,
) -> Result<Source, RemoteError> {
    let path = format!(
        "/_matrix/media/v3/download/{}/{}?allow_remote=false&allow_redirect=true&timeout_ms={wait_ms}",
        plexus_s2s::encoded(uri.server_name.as_str()),
        uri.media_id,
    );
    let opened = peers.open(call(uri, &path, false)).await.map_err(RemoteError::of_call)?;
    if opened.status.is_redirection() {
        return elsewhere(fetcher, &text(&opened.headers, header::LOCATION), max).await;
    }
    let headers = opened.headers.clone();
    Ok(described(&headers, opened.pieces().map_err(RemoteError::of_call).boxed()))
}

/// Fetches media from where a server says it is.
async fn elsewhere(fetcher: &Fetcher, location: &str, max: u64) -> Result<Source, RemoteError> {
    let url =
        Url::parse(location).map_err(|_| RemoteError::Failed("it leads to what is no URL".to_owned()))?;
    let limits = Limits {
        deadline: ELSEWHERE,
        max_body: usize::try_from(max).unwrap_or(usize::MAX),
        max_redirects: MAX_REDIRECTS,
        https_only: true,
    };
    let opened = fetcher.open(url, limits).await.map_err(RemoteError::of_fetch)?;
    match opened.status {
        StatusCode::OK => {
            Ok(described(&opened.headers, opened.pieces.map_err(RemoteError::of_fetch).boxed()))
        }
        StatusCode::NOT_FOUND => Err(RemoteError::NotFound),
        status => Err(RemoteError::Failed(format!("{status} where it is said to be"))),
    }
}

fn call<'a>(uri: &'a MediaUri, path: &'a str, is_signed: bool) -> Call<'a> {
    Call {
        destination: &uri.server_name,
        method: Method::GET,
        path,
        body: None,
        class: Class::MEDIA,
        is_signed,
    }
}

fn described(headers: &HeaderMap, pieces: Pieces) -> Source {
    let content_type = text(headers, header::CONTENT_TYPE);
    let content_type = if content_type.len() > MAX_CONTENT_TYPE { String::new() } else { content_type };
    let file_name = file_name(&text(headers, header::CONTENT_DISPOSITION)).unwrap_or_default();
    let file_name = if file_name.len() > MAX_FILE_NAME { String::new() } else { file_name };
    let length = text(headers, header::CONTENT_LENGTH).parse().ok();
    Source { content_type, file_name, length, pieces }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The boundary of `multipart/mixed`.
fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';');
    if !parts.next()?.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let boundary = parts.find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=70).contains(&boundary.len()) && boundary.bytes().all(is_plain)).then_some(boundary)
}

/// The name in a content disposition.
fn file_name(disposition: &str) -> Option<String> {
    let mut plain = None;
    for part in split(disposition).into_iter().skip(1) {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("filename*") {
            let encoded = value.split_once("''").filter(|(charset, _)| charset.eq_ignore_ascii_case("utf-8"));
            if let Some(decoded) = encoded.and_then(|(_, text)| percent_decoded(text)) {
                return Some(decoded);
            }
        } else if name.eq_ignore_ascii_case("filename") {
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            plain = Some(quoted.map_or_else(|| value.to_owned(), unescaped));
        }
    }
    plain.filter(|name| !name.contains('\0'))
}

/// Splits at semicolons that are not in quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut clear = String::new();
    while let Some(character) = characters.next() {
        clear.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    clear
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = after.get(..2)?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_have_bounds() {
        for (content_type, expected) in [
            ("multipart/mixed; boundary=abc", Some("abc")),
            ("Multipart/Mixed; charset=x; Boundary=\"a b:c\"", Some("a b:c")),
            ("multipart/mixed", None),
            ("multipart/mixed; boundary=", None),
            ("multipart/form-data; boundary=abc", None),
            ("text/plain; boundary=abc", None),
            ("multipart/mixed; boundary=a\u{e9}", None),
        ] {
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
        assert_eq!(boundary(&format!("multipart/mixed; boundary={}", "x".repeat(71))), None);
    }

    #[test]
    fn names_are_read_from_dispositions() {
        for (disposition, expected) in [
            ("inline; filename=a.png", Some("a.png")),
            ("attachment; filename=\"a;b \\\" c\"", Some("a;b \" c")),
            ("inline; filename=x; filename*=utf-8''%C3%B6.png", Some("ö.png")),
            ("inline; filename*=utf-8''%C3; filename=y", Some("y")),
            ("inline; filename*=utf-8''%0", None),
            ("inline", None),
            ("", None),
            ("inline; nonsense", None),
        ] {
            assert_eq!(file_name(disposition).as_deref(), expected, "{disposition}");
        }
    }
}
