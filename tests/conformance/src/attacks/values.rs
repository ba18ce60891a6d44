//! Values that something may stumble over.

use serde_json::{Value, json};

use super::dice::Dice;

/// Texts: for JSON, for paths and for queries.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "a\0b",
    "\u{feff}",
    "\u{fffd}",
    "\u{202e}abc",
    "e\u{301}",
    "\u{1f375}",
    "\u{10ffff}",
    "..",
    "../../etc/passwd",
    "%00",
    "%",
    "%2F",
    "?",
    "#",
    "/",
    "//",
    "\\",
    "'",
    "\"; DROP TABLE events; --",
    "$1",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    "*",
    "**********b",
    "_",
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "NaN",
    "@",
    "@:",
    "@a",
    "@a:b:c:d",
    "@A:plexus.test",
    "@\0:plexus.test",
    "@nobody:elsewhere.example",
    "!",
    "!a",
    "!a:b",
    "!nowhere:elsewhere.example",
    "#",
    "#a",
    "#nothing:elsewhere.example",
    "$",
    "$a",
    "$a\0",
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.read",
    "main",
    "s2_",
    "s2_AAAA",
    "t1_-9223372036854775808",
    "t1_9223372036854775807",
    "mxc://",
    "mxc://a/b",
    "::1",
    "127.0.0.1:22",
    "world_readable",
    "restricted",
];

/// A text.
pub(super) fn text(dice: &mut Dice) -> String {
    match dice.roll(12) {
        0 => "a".repeat(dice.pick(&[256, 1_024, 70_000, 300_000])),
        1 => "\u{1f375}".repeat(dice.pick(&[64, 300, 20_000])),
        2 => format!("@{}:plexus.test", "a".repeat(dice.roll(400))),
        _ => dice.pick(TEXTS).to_owned(),
    }
}

/// A text that fits into a line of HTTP.
pub(super) fn short_text(dice: &mut Dice) -> String {
    let mut text = text(dice);
    let mut end = text.len().min(2_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Any value.
pub(super) fn any(dice: &mut Dice) -> Value {
    match dice.roll(20) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(9_007_199_254_740_991_i64),
        5 => json!(9_007_199_254_740_992_i64),
        6 => json!(i64::MIN),
        7 => json!(u64::MAX),
        8 => json!(0.5),
        9 => json!(-1.0e308),
        10 => json!([]),
        11 => json!({}),
        12 => json!([null, 1, "a", [], {}]),
        13 => json!({ "": "", "\0": "\0", "a.b": { "c": [1.5] } }),
        14 => nested(dice.pick(&[10, 60, 99, 120])),
        15 => {
            let length = dice.pick(&[10, 1_000, 20_000]);
            (0..length).map(|number| json!(number)).collect()
        }
        16 => {
            let length = dice.pick(&[10, 500, 4_000]);
            Value::Object((0..length).map(|number| (format!("k{number}"), json!(number))).collect())
        }
        _ => Value::String(text(dice)),
    }
}

/// Lists in lists, or objects in objects.
fn nested(depth: usize) -> Value {
    (0..depth).fold(
        json!("deep"),
        |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
    )
}
