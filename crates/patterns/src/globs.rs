//! Lists of globs.

use std::collections::HashSet;

use crate::Glob;

/// A list of globs of a filter: a text matches if one of them does. However many plain texts are in it, they cost one
/// look.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    literals: HashSet<Box<str>>,
    globs: Vec<Glob>,
}

impl Globs {
    /// Most globs with wildcards that a list of a filter should have: each is looked at for each event.
    pub const MAX_WILDCARDS: usize = 100;

    /// Compiles the globs of a filter, where `*` is the only wildcard.
    #[must_use]
    pub fn of_filter<P: AsRef<str>>(patterns: &[P]) -> Self {
        let (globs, literals): (Vec<&str>, Vec<&str>) =
            patterns.iter().map(AsRef::as_ref).partition(|pattern| pattern.contains('*'));
        Self {
            literals: literals.into_iter().map(Box::from).collect(),
            globs: globs.into_iter().map(Glob::of_filter).collect(),
        }
    }

    /// Whether one of the globs matches a text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.literals.contains(text) || self.globs.iter().any(|glob| glob.matches(text))
    }

    /// How many of the globs have wildcards.
    #[must_use]
    pub fn wildcards(&self) -> usize {
        self.globs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Globs;

    #[test]
    fn one_that_matches_is_enough() {
        let globs = Globs::of_filter(&["m.room.message", "m.call.*", "com.*.x"]);
        for (text, matches) in [
            ("m.room.message", true),
            ("m.room.messages", false),
            ("m.call.invite", true),
            ("com.example.x", true),
            ("", false),
        ] {
            assert_eq!(globs.matches(text), matches, "{text}");
        }
        assert_eq!(globs.wildcards(), 2);
        assert!(!Globs::default().matches(""));
    }
}
