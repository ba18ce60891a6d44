//! `event_fields`: parts of events.

use serde_json::{Map, Value, value::RawValue};

/// Which fields of events are wanted: paths of keys.
#[derive(Debug)]
pub(crate) struct Fields(Vec<Vec<String>>);

impl Fields {
    pub(crate) fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| split(path)).collect())
    }

    /// Leaves only the wanted fields of an event. One that is no object stays as it is.
    pub(crate) fn select(&self, event: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
        let event: Value = serde_json::from_str(event.get())?;
        let mut selected = Map::new();
        for path in &self.0 {
            copy(path, &event, &mut selected);
        }
        serde_json::value::to_raw_value(&selected)
    }
}

fn copy(path: &[String], from: &Value, to: &mut Map<String, Value>) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(key) else {
        return;
    };
    if rest.is_empty() {
        to.insert(key.clone(), value.clone());
        return;
    }
    let mut inner = Map::new();
    copy(rest, value, &mut inner);
    if inner.is_empty() {
        return;
    }
    match to.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(known) => merge(known, inner),
        // The whole of it is there already.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

fn merge(known: &mut Map<String, Value>, new: Map<String, Value>) {
    for (key, value) in new {
        match (known.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(new)) => merge(known, new),
            (_, value) => {
                known.insert(key, value);
            }
        }
    }
}

/// Splits at the dots that no backslash precedes.
fn split(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '.' => {
                keys.push(String::new());
                continue;
            }
            '\\' => match characters.next() {
                Some(escaped @ ('.' | '\\')) => escaped,
                Some(other) => {
                    if let Some(key) = keys.last_mut() {
                        key.push('\\');
                    }
                    other
                }
                None => '\\',
            },
            other => other,
        };
        if let Some(key) = keys.last_mut() {
            key.push(literal);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_fields_stay() {
        let fields = Fields::new(
            &["type", "content.body", r"content.m\.relates_to.event_id", "no.such"].map(str::to_owned),
        );
        let event = r#"{"type":"t","sender":"@a:b","content":{"body":"x","c":1,"m.relates_to":{"event_id":"$e","k":2}}}"#;
        let event = RawValue::from_string(event.to_owned()).unwrap();
        let selected: Value = serde_json::from_str(fields.select(&event).unwrap().get()).unwrap();
        assert_eq!(
            selected,
            serde_json::json!({"type":"t","content":{"body":"x","m.relates_to":{"event_id":"$e"}}})
        );
    }
}
