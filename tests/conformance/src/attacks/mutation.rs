//! From a body that makes sense to one that does not.

use serde_json::Value;

use super::{dice::Dice, values};

/// Changes one thing, or some.
pub(super) fn mutate(dice: &mut Dice, body: &mut Value) {
    for _ in 0..=dice.roll(3) {
        match dice.roll(8) {
            0 => drop(remove(dice, body)),
            1 | 2 => add(dice, body),
            _ => replace(dice, body),
        }
    }
}

/// The text of a body: mostly what JSON says, now and then something that is none.
pub(super) fn text(dice: &mut Dice, body: &Value) -> Vec<u8> {
    let mut json = body.to_string().into_bytes();
    match dice.roll(24) {
        0 => json.truncate(dice.roll(json.len())),
        1 => json.extend_from_slice(b" x"),
        2 => json.splice(..0, *b"\xef\xbb\xbf").for_each(drop),
        3 => insert(dice, &mut json, b"\xff\xfe"),
        4 => insert(dice, &mut json, b"\0"),
        5 => insert(dice, &mut json, br#""\ud800""#),
        6 => json = swap(&json, "\"", r#""\ud800"#),
        7 => json = swap(&json, ":", ":NaN,\"x\":"),
        8 => json = swap(&json, ":", &format!(":{},\"x\":", "9".repeat(400))),
        9 => json = swap(&json, ":", ":1e99999,\"x\":"),
        10 => json = twice(&json),
        11 => {
            let depth = dice.pick(&[130, 5_000, 100_000]);
            let (open, close) = if dice.once_in(2) { ("[", "]") } else { ("{\"a\":", "}") };
            json = swap(&json, ":", &format!(":{}1{},\"x\":", open.repeat(depth), close.repeat(depth)));
        }
        12 => json = json.iter().flat_map(|byte| [*byte, 0]).collect(),
        13 => json.clear(),
        14 => {
            let length = dice.pick(&[10_000, 600_000]);
            json.splice(..0, std::iter::repeat_n(b' ', length)).for_each(drop);
        }
        _ => {}
    }
    json
}

/// Puts bytes somewhere.
fn insert(dice: &mut Dice, json: &mut Vec<u8>, bytes: &[u8]) {
    let at = dice.roll(json.len() + 1);
    json.splice(at..at, bytes.iter().copied()).for_each(drop);
}

/// Puts a text in place of the first of another.
fn swap(json: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(json).replacen(from, to, 1).into_bytes()
}

/// An object that has its keys twice.
fn twice(json: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(json);
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    format!("{{{inner},{inner}}}").into_bytes()
}

/// How many values there are in a value, itself included.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// The value with this number, counted from the outside in.
fn at(value: &mut Value, number: usize) -> Option<&mut Value> {
    if number == 0 {
        return Some(value);
    }
    let mut left = number - 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    for value in inner {
        let size = count(value);
        if left < size {
            return at(value, left);
        }
        left -= size;
    }
    None
}

fn replace(dice: &mut Dice, body: &mut Value) {
    // The body as a whole now and then, else something in it.
    let number = if dice.once_in(20) { 0 } else { 1 + dice.roll(count(body).saturating_sub(1)) };
    if let Some(value) = at(body, number) {
        *value = values::any(dice);
    }
}

fn add(dice: &mut Dice, body: &mut Value) {
    let number = dice.roll(count(body));
    match at(body, number) {
        Some(Value::Object(map)) => drop(map.insert(values::text(dice), values::any(dice))),
        Some(Value::Array(list)) => list.push(values::any(dice)),
        Some(_) | None => {}
    }
}

fn remove(dice: &mut Dice, body: &mut Value) -> Option<Value> {
    let map = body.as_object_mut()?;
    let keys: Vec<String> = map.keys().cloned().collect();
    map.remove(keys.get(dice.roll(keys.len()))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_has_a_number() {
        let mut body = json!({ "a": [1, { "b": 2 }], "c": "d" });
        let found: Vec<String> = (0..count(&body))
            .filter_map(|number| at(&mut body, number).map(|value| value.to_string()))
            .collect();
        assert_eq!(found.len(), 6);
        for value in ["1", "2", r#"{"b":2}"#, r#""d""#] {
            assert!(found.iter().any(|found| found == value), "{value} in {found:?}");
        }
        assert!(at(&mut body, 6).is_none());
    }

    #[test]
    fn most_bodies_are_still_json() {
        let mut parsed = 0;
        for number in 0..1_000 {
            let mut dice = Dice::of(1, number);
            let mut body = json!({ "a": { "b": [1, 2] }, "c": "d" });
            mutate(&mut dice, &mut body);
            parsed += usize::from(serde_json::from_slice::<Value>(&text(&mut dice, &body)).is_ok());
        }
        assert!((400..900).contains(&parsed), "{parsed}");
    }
}
