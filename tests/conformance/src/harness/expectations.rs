//! Which tests are known to fail, and why.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

/// How the reason of a test begins that fails now and then, as one that races does: it may pass as well.
const BY_CHANCE: &str = "By chance: ";

/// Tests that are expected to fail, with the reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectations(BTreeMap<String, String>);

impl Expectations {
    /// Reads a table of tab-separated fields. The first is the test and the last the reason; if there are three, the
    /// second is the shape of the server, or `*` for any. A reason is required.
    pub(crate) fn read(path: &Path, shape: &str) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, shape).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str, shape: &str) -> Result<Self> {
        let mut listed = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let (test, reason, applies) = match fields[..] {
                [test, reason] => (test, reason, true),
                [test, of, reason] => (test, reason, of == "*" || of == shape),
                _ => anyhow::bail!("a line is not `test TAB [shape TAB] reason`: {line}"),
            };
            ensure!(!reason.trim().is_empty(), "{test} has no reason");
            if applies {
                let twice = listed.insert(test.to_owned(), reason.to_owned());
                ensure!(twice.is_none(), "{test} is listed twice");
            }
        }
        Ok(Self(listed))
    }

    /// The reason why a test fails, if it is expected to.
    pub(crate) fn reason(&self, test: &str) -> Option<&str> {
        self.0.get(test).map(String::as_str)
    }

    /// Whether a test is listed as one that always fails, so that it is news if it passes.
    pub(crate) fn fails_always(&self, test: &str) -> bool {
        self.reason(test).is_some_and(|reason| !reason.starts_with(BY_CHANCE))
    }

    /// All tests that are listed.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_apply_to_their_shape() {
        let text = "# test\tshape\treason\na\tmesh\tslow\nb\t*\tmissing\nc\tdiffers\n";
        let found = Expectations::parse(text, "standalone").unwrap();
        assert_eq!(found.names().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(found.reason("b"), Some("missing"));
    }

    #[test]
    fn what_fails_by_chance_may_pass() {
        let found = Expectations::parse("a\tBy chance: it races\nb\tit does not\n", "synapse").unwrap();
        assert_eq!(found.reason("a"), Some("By chance: it races"));
        assert!(!found.fails_always("a") && found.fails_always("b") && !found.fails_always("c"));
    }

    #[test]
    fn a_reason_is_required_and_a_test_is_listed_once() {
        assert!(Expectations::parse("a\t*\t \n", "mesh").is_err());
        assert!(Expectations::parse("a\n", "mesh").is_err());
        assert!(Expectations::parse("a\tx\na\ty\n", "mesh").is_err());
    }
}
