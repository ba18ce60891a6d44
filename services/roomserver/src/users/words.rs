//! Splits names into the words by which the directory finds users.

use std::collections::BTreeSet;

/// Longest word in bytes; of a longer one, the beginning is found.
const MAX_BYTES: usize = 64;
/// Most words of one user.
const MAX_WORDS: usize = 32;
/// Scripts that begin here put no spaces between words: Thai, Chinese, Japanese and others.
const SPACELESS: char = '\u{e00}';

/// Words of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// What a search may begin with.
    pub(crate) beginnings: BTreeSet<String>,
    /// All single words, each after a space.
    pub(crate) text: String,
}

/// Returns the words of a user.
pub(crate) fn words_of(user_id: &str, display_name: Option<&str>) -> Words {
    let full = user_id.trim_start_matches('@').to_lowercase();
    let localpart = full.split(':').next().unwrap_or_default().to_owned();
    let name = display_name.unwrap_or_default().trim().to_lowercase();
    let single: Vec<&str> = split(&localpart).chain(split(&name)).take(MAX_WORDS).collect();
    let mut beginnings: BTreeSet<String> =
        [full.as_str(), &localpart, &name].into_iter().filter(|word| !word.is_empty()).map(cut).collect();
    let mut add = |word: &str| {
        if beginnings.len() < MAX_WORDS {
            beginnings.insert(cut(word));
        }
    };
    for word in &single {
        add(word);
    }
    for word in &single {
        if word.chars().any(|letter| letter >= SPACELESS) {
            word.char_indices().for_each(|(at, _)| add(&word[at..]));
        }
    }
    let text = single.iter().flat_map(|word| [" ".to_owned(), cut(word)]).collect();
    Words { beginnings, text }
}

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// All of it, in lower case and without the sigil of a user ID.
    pub(crate) whole: String,
    /// Its words, the longest first.
    pub(crate) words: Vec<String>,
}

impl Term {
    /// Reads a term; `None` if nothing is searched for.
    pub(crate) fn read(term: &str) -> Option<Self> {
        let whole = cut(term.trim().trim_start_matches('@').to_lowercase().trim());
        if whole.is_empty() {
            return None;
        }
        let mut words: Vec<String> = split(&whole).take(MAX_WORDS).map(ToOwned::to_owned).collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        Some(Self { whole, words })
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The beginning of a word, as a column holds it.
fn cut(word: &str) -> String {
    word[..word.floor_char_boundary(MAX_BYTES)].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beginnings(user_id: &str, name: &str) -> Vec<String> {
        words_of(user_id, Some(name)).beginnings.into_iter().collect()
    }

    #[test]
    fn users_have_words_of_their_ids_and_names() {
        assert_eq!(
            beginnings("@Bob.Smith:example.org", "Bobby \0 Tables-ÄÖ"),
            [
                "bob",
                "bob.smith",
                "bob.smith:example.org",
                "bobby",
                "bobby \u{fffd} tables-äö",
                "smith",
                "tables",
                "äö"
            ]
        );
        assert_eq!(words_of("@bob:x", Some("Bobby Tables")).text, " bob bobby tables");
        assert_eq!(beginnings("@a:x", "山田太郎"), ["a", "a:x", "太郎", "山田太郎", "田太郎", "郎"]);
        assert_eq!(beginnings("@a:x", "  "), ["a", "a:x"]);
        let many = words_of("@a:x", Some(&"é".repeat(1000)));
        assert!(many.beginnings.iter().all(|word| word.len() <= 3 * MAX_BYTES));
        let many = words_of("@a:x", Some(&(0..1000).map(|n| format!("w{n} ")).collect::<String>()));
        assert_eq!((many.beginnings.len(), many.text.split(' ').count()), (MAX_WORDS, MAX_WORDS + 1));
    }

    #[test]
    fn terms_are_read_as_users_type_them() {
        let term = |text: &str| Term::read(text).map(|term| (term.whole, term.words));
        assert_eq!(
            term(" @Bob:Example "),
            Some(("bob:example".into(), vec!["example".into(), "bob".into()]))
        );
        assert_eq!(term(" @ "), None);
        assert_eq!(term(".o"), Some((".o".into(), vec!["o".into()])));
        assert_eq!(term("%"), Some(("%".into(), Vec::new())));
    }
}
