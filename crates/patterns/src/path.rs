//! [Dot-separated property paths](https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths).

/// Splits a path into property names, at the dots that no backslash escapes.
///
/// A backslash before a dot or a backslash escapes it; before anything else it stands for itself.
#[must_use]
pub fn split_path(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '.' => names.push(std::mem::take(&mut name)),
            '\\' => name.push(characters.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\')),
            other => name.push(other),
        }
    }
    names.push(name);
    names
}

#[cfg(test)]
mod tests {
    use super::split_path;

    #[test]
    fn paths_are_split_at_dots_that_are_not_escaped() {
        for (path, expected) in [
            ("", &[""] as &[&str]),
            ("content", &["content"]),
            ("content.body", &["content", "body"]),
            (r"content.m\.relates_to.rel_type", &["content", "m.relates_to", "rel_type"]),
            // The example of the specification.
            (r"m.foo\.bar\\baz", &["m", r"foo.bar\baz"]),
            (r"a\\.b", &[r"a\", "b"]),
            (r"a\xb", &[r"a\xb"]),
            (r"a\", &[r"a\"]),
            ("a..b.", &["a", "", "b", ""]),
        ] {
            assert_eq!(split_path(path), expected, "{path}");
        }
    }
}
