//! Reads which part of media is asked for. [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#name-range-requests)

use std::ops::Range;

use http::{HeaderMap, header};

/// What a request wants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    All,
    /// A part.
    Part(Range<u64>),
    /// A part that it does not have.
    Unsatisfiable,
}

/// Reads what a request wants of a file of that size, whose entity tag is this. Several ranges, and what is none, are
/// answered with everything, as is allowed.
pub(crate) fn wanted(headers: &HeaderMap, size: u64, etag: &str) -> Wanted {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Wanted::All;
    };
    // Only if the client has the rest of the same bytes.
    if headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != etag.as_bytes()) {
        return Wanted::All;
    }
    parse(range, size).unwrap_or(Wanted::All)
}

fn parse(range: &str, size: u64) -> Option<Wanted> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = if first.is_empty() {
        let length = number(last)?;
        if length == 0 {
            return Some(Wanted::Unsatisfiable);
        }
        size.saturating_sub(length)..size
    } else {
        let first = number(first)?;
        let end = if last.is_empty() { size } else { number(last)?.saturating_add(1) };
        if end <= first && !last.is_empty() {
            return None;
        }
        first..end.min(size)
    };
    Some(if range.start < size { Wanted::Part(range) } else { Wanted::Unsatisfiable })
}

/// Whether the client says that it has these bytes.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',');
        tags.map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == etag || tag == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_meant() {
        let part = |start, end| Wanted::Part(start..end);
        for (text, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=0-", part(0, 100)),
            ("bytes=10-19", part(10, 20)),
            ("bytes=90-200", part(90, 100)),
            ("bytes=99-", part(99, 100)),
            ("bytes=-1", part(99, 100)),
            ("bytes=-100", part(0, 100)),
            ("bytes=-1000", part(0, 100)),
            ("Bytes = 1-2", part(1, 3)),
            ("bytes=0-99999999999999999999999", part(0, 100)),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=100-200", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes", Wanted::All),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
            assert_eq!(wanted(&headers, 100, "\"a\""), expected, "{text}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 100, "\"a\""), Wanted::All);
        let empty = HeaderMap::from_iter([(header::RANGE, "bytes=0-".parse().unwrap())]);
        assert_eq!(wanted(&empty, 0, "\"a\""), Wanted::Unsatisfiable);
    }

    #[test]
    fn parts_go_to_who_has_the_rest() {
        let with = |if_range: &str| {
            let range = (header::RANGE, "bytes=1-2".parse().unwrap());
            HeaderMap::from_iter([range, (header::IF_RANGE, if_range.parse().unwrap())])
        };
        assert_eq!(wanted(&with("\"a\""), 9, "\"a\""), Wanted::Part(1..3));
        assert_eq!(wanted(&with("\"b\""), 9, "\"a\""), Wanted::All);
        let known = |text: &str| {
            is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, text.parse().unwrap())]), "\"a\"")
        };
        assert!(known("\"a\"") && known("W/\"a\"") && known("\"b\", \"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a"));
    }
}
