//! Decides which media browsers may show, and under which name it is saved.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content)

use std::fmt::Write as _;

/// Types that browsers may show. They hold neither scripts nor markup.
const INLINE: &[&str] = &[
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];
/// Longest name that is told, in bytes.
const MAX_NAME: usize = 255;

/// The content disposition of media of a type, under a name.
pub(crate) fn content_disposition(content_type: &str, name: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let inline = INLINE.iter().any(|known| known.eq_ignore_ascii_case(essence));
    let mut value = if inline { "inline" } else { "attachment" }.to_owned();
    let name = cleaned(name);
    if name.is_empty() {
        return value;
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    if name.bytes().all(is_token) {
        value += &format!("; filename={name}");
    } else if name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        value += &format!("; filename=\"{quoted}\"");
    } else {
        value += "; filename*=UTF-8''";
        for byte in name.bytes() {
            if is_token(byte) {
                value.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                write!(value, "%{byte:02X}").ok();
            }
        }
    }
    value
}

/// A name without what would lead out of a folder or break a header.
fn cleaned(name: &str) -> String {
    let mut clean: String = name
        .chars()
        .filter(|character| !character.is_control() && !is_direction(*character))
        .map(|character| if matches!(character, '/' | '\\') { '_' } else { character })
        .collect();
    let end = (0..=MAX_NAME.min(clean.len())).rev().find(|&end| clean.is_char_boundary(end)).unwrap_or(0);
    clean.truncate(end);
    let trimmed = clean.trim();
    if trimmed.chars().all(|character| character == '.') { String::new() } else { trimmed.to_owned() }
}

/// Characters that show a name in another order than it has.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_no_scripts_is_shown() {
        assert_eq!(INLINE.len(), 26);
        for inline in INLINE {
            assert_eq!(content_disposition(inline, ""), "inline", "{inline}");
            let dressed = format!("{} ; charset=utf-8", inline.to_ascii_uppercase());
            assert_eq!(content_disposition(&dressed, ""), "inline", "{dressed}");
        }
        for other in [
            "",
            "text/html",
            "text/xml",
            "text/javascript",
            "image/svg+xml",
            "application/pdf",
            "application/xml",
            "application/xhtml+xml",
            "application/octet-stream",
            "application/javascript",
            "image/tiff",
            "image/bmp",
            "video/x-msvideo",
            "multipart/mixed",
            "text/plainx",
            "xtext/plain",
            "text",
            "text/plain,text/html",
            "image/heic",
            "application/wasm",
            "inline",
            "application/zip",
        ] {
            assert_eq!(content_disposition(other, ""), "attachment", "{other}");
        }
    }

    #[test]
    fn names_are_told_and_lead_nowhere() {
        for (name, expected) in [
            ("a.png", "inline; filename=a.png"),
            ("a b.png", "inline; filename=\"a b.png\""),
            ("a\"b\\c", "inline; filename=\"a\\\"b_c\""),
            ("ö.png", "inline; filename*=UTF-8''%C3%B6.png"),
            ("../../etc/passwd", "inline; filename=.._.._etc_passwd"),
            ("a\r\nSet-Cookie: b", "inline; filename=\"aSet-Cookie: b\""),
            ("..", "inline"),
            ("gnp\u{202e}exe.", "inline; filename=gnpexe."),
        ] {
            assert_eq!(content_disposition("image/png", name), expected, "{name:?}");
        }
        let long = content_disposition("image/png", &"é".repeat(500));
        assert!(long.len() < 900, "{}", long.len());
    }
}
