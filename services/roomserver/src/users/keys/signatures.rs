//! Signatures on keys: each is verified, and only those are taken that cross-signing knows.

use std::collections::BTreeSet;

use bytes::Bytes;
use plexus_events::{
    Object, canonical,
    keys::{
        check_cross_signing_key, device_signing_key, find_signature, is_signed, signatures_by, signed_part,
    },
};
use plexus_proto::log::v1::{
    KeyFailure, KeyFailures, KeysChanged, SignedKey, UploadSignatures, output_user_event::Fact,
};
use prost::Message as _;
use ruma::UserId;

use super::{KeyChange, MASTER, SELF_SIGNING, SignatureRow, USER_SIGNING};
use crate::users::apply::{Stop, Work};

/// Why an object is refused.
enum Fault {
    /// There is no such key.
    Unknown(&'static str),
    /// It is not what was signed, or a signature is wrong.
    Wrong(&'static str),
}

/// Whose signatures a key takes.
enum Signers {
    /// Of the key with this public part.
    Key(String),
    /// Of devices of the user.
    Devices,
}

/// Adds signatures to keys; what is refused does not hinder the rest.
pub(in crate::users) fn upload_signatures(
    work: &mut Work<'_>,
    command: &UploadSignatures,
) -> Result<(), Stop> {
    work.active_account()?;
    let mut failures = Vec::new();
    let mut new: Vec<(&SignedKey, String, String)> = Vec::new();
    for signed in &command.keys {
        match check(work, signed) {
            Ok(signatures) => {
                new.extend(signatures.into_iter().map(|(key_id, signature)| (signed, key_id, signature)));
            }
            Err(fault) => {
                let (is_known, message) = match fault {
                    Fault::Unknown(message) => (false, message),
                    Fault::Wrong(message) => (true, message),
                };
                let (user_id, key) = (signed.user_id.clone(), signed.key.clone());
                failures.push(KeyFailure { user_id, key, is_known, message: message.to_owned() });
            }
        }
    }
    let seq = work.next_seq();
    let mut concerned: BTreeSet<bool> = BTreeSet::new();
    let mut own_keys: BTreeSet<String> = BTreeSet::new();
    for (signed, signer_key_id, signature) in new {
        let name = (signed.user_id.clone(), signed.key.clone(), signer_key_id.clone());
        if work.user.keys.signatures.get(&name) == Some(&signature) {
            continue;
        }
        let is_own = signed.user_id == work.record.user_id;
        concerned.insert(is_own);
        if is_own {
            own_keys.insert(signed.key.clone());
        }
        work.user.keys.signatures.insert(name, signature.clone());
        work.change_key(KeyChange::Signature(SignatureRow {
            target_user_id: signed.user_id.clone(),
            target_key: signed.key.clone(),
            signer_key_id,
            signature,
            seq,
        }));
    }
    if concerned.contains(&true) {
        let seq = work.tell_keys_changed();
        let master = work.user.keys.cross_signing.get(MASTER).map(|key| key.public_key.clone());
        if master.is_some_and(|master| own_keys.remove(&master)) {
            work.change_key(KeyChange::SigningKeys(seq));
        }
        work.note_devices_changed(seq, &own_keys);
    } else if concerned.contains(&false) {
        // Nobody but the user may see them.
        work.put_out(Fact::KeysChanged(KeysChanged { own: true }));
    }
    work.answer(Bytes::from(KeyFailures { failures }.encode_to_vec()));
    Ok(())
}

/// Checks an object; returns the signatures to keep, by the ID of the signing key.
fn check(work: &Work<'_>, signed: &SignedKey) -> Result<Vec<(String, String)>, Fault> {
    let user_id = work.record.user_id.as_str();
    let (stored, signers) = find(work, signed)?;
    let stored =
        canonical::parse_object(stored).map_err(|_| Fault::Unknown("the stored key is no object"))?;
    let object =
        canonical::parse_object(&signed.object).map_err(|_| Fault::Wrong("it has no canonical form"))?;
    if signed_part(&object) != signed_part(&stored) {
        return Err(Fault::Wrong("it is not the key that is stored"));
    }
    let mut kept = Vec::new();
    for (key_id, signature) in signatures_by(&object, user_id) {
        // Clients send along what the key came with.
        if find_signature(&stored, user_id, key_id) == Some(signature) {
            continue;
        }
        let public_key = match &signers {
            Signers::Key(public_key) => {
                Some(public_key.clone()).filter(|key| key_id.strip_prefix("ed25519:") == Some(key))
            }
            Signers::Devices => key_id.strip_prefix("ed25519:").and_then(|device| device_key(work, device)),
        };
        let Some(public_key) = public_key else {
            return Err(Fault::Wrong("it is signed by a key that does not sign such keys"));
        };
        if !is_signed(&object, &public_key, signature) {
            return Err(Fault::Wrong("a signature is wrong"));
        }
        kept.push((key_id.to_owned(), signature.to_owned()));
    }
    if kept.is_empty() {
        return Err(Fault::Wrong("it has no new signature of yours"));
    }
    Ok(kept)
}

/// The key that is signed, and who may sign it.
fn find<'a>(work: &'a Work<'_>, signed: &'a SignedKey) -> Result<(&'a Bytes, Signers), Fault> {
    let keys = &work.user.keys;
    let own = |usage: &str| keys.cross_signing.get(usage).map(|key| key.public_key.clone());
    if signed.user_id != work.record.user_id {
        let signer = || own(USER_SIGNING).ok_or(Fault::Wrong("there is no user-signing key"));
        let unknown = Fault::Unknown("the user has no such master key");
        if is_told(signed) {
            return Ok((&signed.told_key, Signers::Key(signer()?)));
        }
        let master = keys.masters.get(&signed.user_id).filter(|master| master.public_key == signed.key);
        let master = master.ok_or(unknown)?;
        return Ok((&master.key, Signers::Key(signer()?)));
    }
    if let Some(master) = keys.cross_signing.get(MASTER).filter(|master| master.public_key == signed.key) {
        return Ok((&master.key, Signers::Devices));
    }
    let device = keys.devices.get(&signed.key).and_then(|device| device.keys.as_ref());
    let device = device.ok_or(Fault::Unknown("there is no such device or master key"))?;
    let signer = own(SELF_SIGNING).ok_or(Fault::Wrong("there is no self-signing key"))?;
    Ok((device, Signers::Key(signer)))
}

/// Whether a key is a master key that another server has told of its user.
fn is_told(signed: &SignedKey) -> bool {
    let Ok(user) = <&UserId>::try_from(signed.user_id.as_str()) else { return false };
    let Ok(object) = canonical::parse_object(&signed.told_key) else { return false };
    check_cross_signing_key(&object, user, MASTER).is_ok_and(|public_key| public_key == signed.key)
}

/// The public key of a device of the user.
fn device_key(work: &Work<'_>, device_id: &str) -> Option<String> {
    let keys: Object = canonical::parse_object(work.user.keys.devices.get(device_id)?.keys.as_ref()?).ok()?;
    device_signing_key(&keys, device_id).map(ToOwned::to_owned)
}
