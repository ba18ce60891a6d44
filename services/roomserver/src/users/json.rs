//! Keeps JSON as it came.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Any JSON of bounded depth; nothing of it is kept.
///
/// Unlike [`IgnoredAny`], which looks at JSON of any depth, it is subject to the limit of the parser: what passes can be
/// read by whoever gets it.
#[derive(Debug)]
pub(super) struct Bounded;

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)?;
        Ok(Self)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element::<Bounded>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, Bounded>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn json_passes_unless_it_is_too_deep() {
        for json in ["null", "true", "-1", "1.5e300", r#""x""#, r#"{"a":[{"b":[1,{}]}]}"#] {
            serde_json::from_str::<Bounded>(json).unwrap();
        }
        for depth in [200, 100_000] {
            let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            serde_json::from_str::<Bounded>(&json).unwrap_err();
        }
    }
}
