//! `key_signatures`: writes signatures on keys.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Int8, Text};

use super::KeyRows;
use crate::store::{batch::Pipeline, statement::statement};

impl KeyRows {
    pub(super) fn write_signatures(&self, pipeline: &mut Pipeline<'_>) {
        if self.signatures.is_empty() {
            return;
        }
        let (keys, rows) = (|| self.signatures.keys(), || self.signatures.values());
        let statement = UpsertSignatures {
            target_user_id: keys().map(|key| key.0.as_str()).collect(),
            target_key: keys().map(|key| key.1.as_str()).collect(),
            signer_user_id: keys().map(|key| key.2.as_str()).collect(),
            signer_key_id: keys().map(|key| key.3.as_str()).collect(),
            signature: rows().map(|row| row.signature.as_str()).collect(),
            seq: rows().map(|row| row.seq).collect(),
            lifetime: PhantomData,
        };
        pipeline.add(UpsertSignatures::NAME, statement);
    }
}

statement! {
    /// Sets signatures.
    UpsertSignatures {
        target_user_id: Array<Text> => Vec<&'a str>,
        target_key: Array<Text> => Vec<&'a str>,
        signer_user_id: Array<Text> => Vec<&'a str>,
        signer_key_id: Array<Text> => Vec<&'a str>,
        signature: Array<Text> => Vec<&'a str>,
        seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO key_signatures (target_user_id, target_key, signer_user_id, signer_key_id, signature, seq) \
     SELECT * FROM unnest(",
    ") ON CONFLICT (target_user_id, target_key, signer_user_id, signer_key_id) DO UPDATE SET \
     signature = excluded.signature, seq = excluded.seq"
}
