//! Computes the partition of a key, here and nowhere else.

use sha2::{Digest as _, Sha256};

/// Number of partitions of every topic, fixed for a topic generation.
pub const PARTITIONS: u32 = 64;

/// Returns the partition of a key (a room ID or a user ID): the first eight bytes of its SHA-256, read big-endian,
/// modulo [`PARTITIONS`].
///
/// Every component must agree on it for as long as the topics live; `golden/partitions.tsv` holds it in place.
#[must_use]
pub fn partition_of(key: &str) -> u32 {
    let digest = Sha256::digest(key.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u32::try_from(u64::from_be_bytes(first) % u64::from(PARTITIONS)).expect("a remainder of 64 fits into u32")
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn partitions_are_those_of_the_golden_file() {
        for line in include_str!("../golden/partitions.tsv").lines() {
            let (key, partition) = line.split_once('\t').unwrap();
            assert_eq!(partition_of(key).to_string(), partition, "{key}");
        }
    }
}
