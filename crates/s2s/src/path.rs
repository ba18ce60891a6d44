//! Paths of requests to other servers.

use std::fmt::Write as _;

/// A text as a part of a path, or as a value of a query.
#[must_use]
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() + 16), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A string takes whatever is written to it.
            write!(encoded, "%{byte:02X}").ok();
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn ids_are_one_part_of_a_path() {
        assert_eq!(encoded("$aB-_1"), "%24aB-_1");
        assert_eq!(encoded("!a/../?#:ü"), "%21a%2F..%2F%3F%23%3A%C3%BC");
    }
}
