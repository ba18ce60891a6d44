//! Which tests are known to fail, and why.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

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
    fn a_reason_is_required_and_a_test_is_listed_once() {
        assert!(Expectations::parse("a\t*\t \n", "mesh").is_err());
        assert!(Expectations::parse("a\n", "mesh").is_err());
        assert!(Expectations::parse("a\tx\na\ty\n", "mesh").is_err());
    }
}
