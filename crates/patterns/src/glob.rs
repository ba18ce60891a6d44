//! Globs: `*` stands for any characters, `?` for exactly one.
//!
//! A glob with wildcards is a nondeterministic automaton whose states are the bits of a few words. Each character of
//! the text moves all states at once, so nothing is ever tried again: not after a mismatch, and not at the next word.

#[cfg(test)]
mod tests;

/// A compiled glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    ignores_case: bool,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The whole text is this. (Case is folded if that is ignored.)
    Literal(Box<str>),
    /// The whole text matches.
    Whole(Automaton),
    /// A part of the text between word boundaries matches.
    Words(Automaton),
    /// The pattern is longer than anything it could match.
    Never,
}

/// State `n` says that the first `n` characters have matched, `*` not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Automaton {
    /// How many characters a match has, `*` not counted.
    length: usize,
    /// Characters of the pattern, sorted.
    alphabet: Box<[char]>,
    /// For each character of the alphabet, the states that it leads on from.
    moves: Box<[States]>,
    /// States that any character leads on from: `?`.
    any: States,
    /// States that any character leaves as they are: `*`.
    stays: States,
}

type States = [u64; WORDS];

const WORDS: usize = 5;
const BITS: usize = 64;

/// Wildcards that a pattern may have.
const BOTH: &str = "*?";
const STAR: &str = "*";
const NONE: &str = "";

impl Glob {
    /// Most bytes of a text that are looked at. What follows is unknown: only a final `*` matches it.
    pub const TEXT: usize = 8 * 1024;
    /// Most characters of a pattern beside `*`. A pattern with more matches nothing: no name in Matrix is longer, and
    /// what users look for must not be.
    pub const LENGTH: usize = WORDS * BITS - 1;

    /// Compiles a glob with `*` and `?`.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self::whole(pattern, BOTH, false)
    }

    /// Compiles a glob with `*` and `?` that does not regard case.
    #[must_use]
    pub fn ignoring_case(pattern: &str) -> Self {
        Self::whole(pattern, BOTH, true)
    }

    /// Compiles a glob of a filter, where `*` is the only wildcard.
    #[must_use]
    pub fn of_filter(pattern: &str) -> Self {
        Self::whole(pattern, STAR, false)
    }

    /// Compiles a glob with `*` and `?` that does not regard case and matches a part of a text that begins and ends at a
    /// word boundary: the start or end of the text, or any character but `A` to `Z`, `a` to `z`, `0` to `9` and `_`. An
    /// empty one matches the empty text alone.
    #[must_use]
    pub fn of_words(pattern: &str) -> Self {
        let form = match pattern {
            "" => Form::Literal(Box::default()),
            _ => Automaton::compile(pattern.chars().map(fold), BOTH).map_or(Form::Never, Form::Words),
        };
        Self { ignores_case: true, form }
    }

    /// Compiles a text that is to be found between word boundaries, like [`Glob::of_words`], but without wildcards.
    #[must_use]
    pub fn of_literal_words(text: &str) -> Self {
        let form = match text {
            "" => Form::Literal(Box::default()),
            _ => Automaton::compile(text.chars().map(fold), NONE).map_or(Form::Never, Form::Words),
        };
        Self { ignores_case: true, form }
    }

    fn whole(pattern: &str, wildcards: &str, ignores_case: bool) -> Self {
        let folded = pattern.chars().map(|character| if ignores_case { fold(character) } else { character });
        let form = if pattern.contains(|character| wildcards.contains(character)) {
            Automaton::compile(folded, wildcards).map_or(Form::Never, Form::Whole)
        } else {
            Form::Literal(folded.collect::<String>().into())
        };
        Self { ignores_case, form }
    }

    /// Whether the glob matches a text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.form {
            Form::Literal(literal) if self.ignores_case => {
                literal.chars().eq(text.chars().take(literal.len() + 1).map(fold))
            }
            Form::Literal(literal) => **literal == *text,
            Form::Whole(automaton) => automaton.matches(text, self.ignores_case),
            Form::Words(automaton) => automaton.matches_words(text, self.ignores_case),
            Form::Never => false,
        }
    }

    /// Whether the glob is a plain text, which is compared and not searched for.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self.form, Form::Literal(_))
    }

    /// How much work a match against a text is at most: the characters that are looked at, once for every 64 of the
    /// pattern. A step takes a few nanoseconds.
    #[must_use]
    pub fn steps(&self, text: &str) -> u64 {
        let looks = text.len().min(Self::TEXT) + 1;
        match &self.form {
            Form::Literal(literal) => looks.min(literal.len() + 1) as u64,
            Form::Whole(automaton) | Form::Words(automaton) => (looks * automaton.words()) as u64,
            Form::Never => 1,
        }
    }
}

impl Automaton {
    /// `None` if the pattern is too long.
    fn compile(pattern: impl Iterator<Item = char>, wildcards: &str) -> Option<Self> {
        let (mut length, mut any, mut stays) = (0, States::default(), States::default());
        let mut places: Vec<(char, usize)> = Vec::new();
        for character in pattern {
            let is_wildcard = wildcards.contains(character);
            if is_wildcard && character == '*' {
                set(&mut stays, length);
                continue;
            }
            if length >= Glob::LENGTH {
                return None;
            }
            if is_wildcard {
                set(&mut any, length);
            } else {
                places.push((character, length));
            }
            length += 1;
        }
        places.sort_unstable();
        let (mut alphabet, mut moves) = (Vec::new(), Vec::<States>::new());
        for (character, place) in places {
            if alphabet.last() != Some(&character) {
                alphabet.push(character);
                moves.push(States::default());
            }
            if let Some(states) = moves.last_mut() {
                set(states, place);
            }
        }
        Some(Self { length, alphabet: alphabet.into(), moves: moves.into(), any, stays })
    }

    fn matches(&self, text: &str, ignores_case: bool) -> bool {
        let mut states = States::default();
        set(&mut states, 0);
        for (at, character) in text.char_indices() {
            let is_over = has(&states, self.length) && has(&self.stays, self.length);
            if is_over || at >= Glob::TEXT || states == States::default() {
                return is_over;
            }
            self.step(&mut states, if ignores_case { fold(character) } else { character });
        }
        has(&states, self.length)
    }

    fn matches_words(&self, text: &str, ignores_case: bool) -> bool {
        let mut states = States::default();
        let mut was_word = false;
        for (at, character) in text.char_indices() {
            let is_word = is_word(character);
            if !(was_word && is_word) {
                // A match may end here, and another one begin.
                if has(&states, self.length) {
                    return true;
                }
                set(&mut states, 0);
            }
            if at >= Glob::TEXT {
                return false;
            }
            self.step(&mut states, if ignores_case { fold(character) } else { character });
            was_word = is_word;
        }
        if text.is_empty() {
            set(&mut states, 0);
        }
        has(&states, self.length)
    }

    /// How many words have states.
    const fn words(&self) -> usize {
        self.length / BITS + 1
    }

    /// Moves all states over a character.
    fn step(&self, states: &mut States, character: char) {
        let moves = self.alphabet.binary_search(&character).ok().and_then(|index| self.moves.get(index));
        let none = States::default();
        let mut carry = 0;
        let parts = moves.unwrap_or(&none).iter().zip(&self.any).zip(&self.stays);
        for (word, ((moves, any), stays)) in states.iter_mut().zip(parts).take(self.words()) {
            let moved = *word & (moves | any);
            *word = (moved << 1) | carry | (*word & stays);
            carry = moved >> (BITS - 1);
        }
    }
}

fn set(states: &mut States, state: usize) {
    if let Some(word) = states.get_mut(state / BITS) {
        *word |= 1 << (state % BITS);
    }
}

fn has(states: &States, state: usize) -> bool {
    states.get(state / BITS).is_some_and(|word| word & (1 << (state % BITS)) != 0)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// The character in lower case, if that is one character: so `?` is one however the text is written.
fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => character,
    }
}
