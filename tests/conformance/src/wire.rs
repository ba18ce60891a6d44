//! Requests, answers, and the transcript of a test.

mod answer;
mod request;
mod transcript;

pub(crate) use answer::{Answer, Json};
pub(crate) use request::{Client, Request, http};
pub(crate) use transcript::{Exchange, Transcript};

/// Percent-encodes a part of a path.
pub(crate) fn encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend([
                '%',
                char::from(HEX[usize::from(byte >> 4)]),
                char::from(HEX[usize::from(byte & 15)]),
            ]);
        }
    }
    out
}

/// Like `format!`, but percent-encodes what is put in: `path!("/rooms/{}/state", room)`.
///
/// A path that does not begin with `/_` or `/.` is one below `/_matrix/client/v3`.
macro_rules! path {
    ($format:literal $(, $part:expr)* $(,)?) => {
        format!($format $(, $crate::wire::encoded(&$part.to_string()))*)
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_of_paths_are_encoded() {
        assert_eq!(path!("/rooms/{}/state", "!a/b:c"), "/rooms/%21a%2Fb%3Ac/state");
    }
}
