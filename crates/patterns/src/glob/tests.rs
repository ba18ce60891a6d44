//! Globs against examples, and against a matcher that tries everything.

use proptest::prelude::*;

use super::{Glob, fold, is_word};

#[test]
fn globs_match_whole_texts() {
    for (glob, text, matches) in [
        ("", "", true),
        ("*", "", true),
        ("", "a", false),
        ("?", "", false),
        ("a*c", "abbc", true),
        ("a*c", "abbcd", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b*", "xxbxxaxx", false),
        ("[a]", "a", false),
        (".", "a", false),
        ("?", "ü", true),
        ("a**b", "ab", true),
        ("a*a", "a", false),
        ("a*b*a", "aba", true),
        ("a*b*a", "aa", false),
        ("*é*", "caféine", true),
        ("m.*room*x", "m.room.message", false),
        ("*\n*", "a\nb", true),
        ("A*", "a", false),
    ] {
        assert_eq!(Glob::new(glob).matches(text), matches, "{glob} {text}");
    }
}

#[test]
fn filters_know_no_question_marks() {
    assert!(!Glob::of_filter("m.?").matches("m.a"));
    assert!(Glob::of_filter("m.?").matches("m.?"));
    assert!(Glob::of_filter("m.?*").matches("m.?a"));
}

/// The specification's examples of conditions on `content.body`.
#[test]
fn globs_match_words_as_the_specification_shows() {
    for (glob, text, matches) in [
        ("cake", "cake", true),
        ("cake", "have some Cake.", true),
        ("cake", "cakes and candy", false),
        ("cake", "pancake", false),
        ("cake", "pancakes, cake", true),
        ("cake", "cake_", false),
        ("cake", "ücakeü", true),
        ("cak?", "cakes cake", true),
        ("ca*s", "a cake and pies now", true),
        ("ex*ple", "An example event.", true),
        ("exp*", "An example event.", false),
        ("lunc?*", "Lunch plans", true),
        ("lunc?*", "what about LUNCH?", true),
        ("lunc?*", "lunc", false),
        ("@alice:x", "hi @alice:x!", true),
        (":)", "a :) b", true),
        ("*", "", true),
        ("", "anything", false),
        ("", "", true),
        ("foo bar", "a foo bar b", true),
    ] {
        assert_eq!(Glob::of_words(glob).matches(text), matches, "{glob} {text}");
    }
}

#[test]
fn only_the_beginning_of_a_long_text_is_looked_at() {
    let text = "a".repeat(Glob::TEXT) + "b";
    assert!(Glob::new("a*").matches(&text));
    assert!(!Glob::new("a*b").matches(&text), "the end is not looked at");
    assert!(!Glob::new("*aa").matches(&text), "and what was looked at last is not the end");
    let word = "x ".repeat(Glob::TEXT / 2);
    assert!(Glob::of_words("y").matches(&(word[2..].to_owned() + "y")));
    assert!(!Glob::of_words("y").matches(&(word.clone() + "y")));
    assert!(Glob::of_words("x").matches(&(word + "y")));
    assert_eq!(Glob::new("*").steps(&text), Glob::TEXT as u64 + 1);
    assert_eq!(Glob::new(&"?".repeat(319)).steps(&text), 5 * (Glob::TEXT as u64 + 1));
}

#[test]
fn a_pattern_that_is_too_long_matches_nothing() {
    for pattern in ["?".repeat(100_000), "*".to_owned() + &"a".repeat(30_000) + "b", "a".repeat(400)] {
        let glob = Glob::of_words(&pattern);
        assert!(!glob.matches(&"a".repeat(60_000)), "{}", pattern.len());
    }
    assert!(!Glob::new(&"?".repeat(320)).matches(&"a".repeat(320)));
    assert!(Glob::new(&"?".repeat(319)).matches(&"a".repeat(319)));
    assert!(!Glob::new(&"?".repeat(319)).matches(&"a".repeat(318)));
    assert!(Glob::new(&"*".repeat(100_000)).matches("any"));
}

/// Whether a glob matches the whole of a text, by trying everything.
fn naive(glob: &[char], text: &[char]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => naive(rest, text),
        (Some(('*', rest)), Some((_, after))) => naive(rest, text) || naive(glob, after),
        (Some((one, rest)), Some((other, after))) => (*one == '?' || one == other) && naive(rest, after),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn naive_words(glob: &[char], text: &[char]) -> bool {
    if glob.is_empty() {
        return text.is_empty();
    }
    let is_boundary = |at: usize| {
        let around = [at.checked_sub(1).and_then(|before| text.get(before)), text.get(at)];
        around.iter().any(|character| character.is_none_or(|character| !is_word(*character)))
    };
    let folded: Vec<char> = text.iter().copied().map(fold).collect();
    let glob: Vec<char> = glob.iter().copied().map(fold).collect();
    (0..=text.len()).filter(|start| is_boundary(*start)).any(|start| {
        let ends = (start..=text.len()).filter(|end| is_boundary(*end));
        ends.into_iter().any(|end| naive(&glob, &folded[start..end]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn globs_agree_with_a_matcher_that_tries_everything(glob in "[abA.*?é]{0,8}", text in "[abAB. é]{0,12}") {
        let (characters, of_text): (Vec<_>, Vec<_>) = (glob.chars().collect(), text.chars().collect());
        prop_assert_eq!(Glob::new(&glob).matches(&text), naive(&characters, &of_text));
        prop_assert_eq!(
            Glob::of_words(&glob).matches(&text),
            naive_words(&characters, &of_text)
        );
        let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
        prop_assert_eq!(Glob::ignoring_case(&glob).matches(&text), naive(&lower(&glob), &lower(&text)));
    }

    #[test]
    fn long_globs_agree_too(start in 0_usize..70, stars in 0_usize..3, end in 0_usize..70, text in 0_usize..200) {
        let glob = "a".repeat(start) + &"*".repeat(stars) + &"?".repeat(end) + "b";
        let text = "a".repeat(text) + "b";
        let expected = if stars > 0 { text.len() > start + end } else { text.len() == start + end + 1 };
        prop_assert_eq!(Glob::new(&glob).matches(&text), expected);
    }
}
