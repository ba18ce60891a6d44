//! Client transactions.

use plexus_proto::log::v1::{ClientTransaction, Intent};
use sha2::{Digest as _, Sha256};

/// The key under which the verdict on a client's transaction is kept: the first half of the SHA-256 of user, device,
/// scope and transaction ID, each after its length. `None` if the client named no transaction.
pub(crate) fn txn_key(intent: &Intent) -> Option<[u8; 16]> {
    intent.txn.as_ref().map(transaction_key)
}

/// The same for a transaction alone.
pub(crate) fn transaction_key(txn: &ClientTransaction) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in [&txn.user_id, &txn.device_id, &txn.scope, &txn.txn_id] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use plexus_proto::log::v1::{ClientTransaction, Intent};

    use super::txn_key;

    fn key(user: &str, device: &str, scope: &str, txn: &str) -> Option<[u8; 16]> {
        let txn = ClientTransaction {
            user_id: user.to_owned(),
            device_id: device.to_owned(),
            txn_id: txn.to_owned(),
            scope: scope.to_owned(),
        };
        txn_key(&Intent { txn: Some(txn), ..Intent::default() })
    }

    #[test]
    fn every_part_counts_and_parts_do_not_run_together() {
        let first = key("@a:x", "D", "send/!r:x/m", "1");
        assert_eq!(first, key("@a:x", "D", "send/!r:x/m", "1"));
        assert_ne!(first, key("@b:x", "D", "send/!r:x/m", "1"));
        assert_ne!(first, key("@a:x", "E", "send/!r:x/m", "1"));
        assert_ne!(first, key("@a:x", "D", "send/!r:x/n", "1"));
        assert_ne!(first, key("@a:x", "D", "send/!r:x/m", "2"));
        assert_ne!(key("@a:x", "DE", "", ""), key("@a:x", "D", "E", ""));
        assert_eq!(txn_key(&Intent::default()), None);
    }
}
