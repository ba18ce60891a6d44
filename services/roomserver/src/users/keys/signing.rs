//! Cross-signing keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_events::{
    Object, canonical,
    keys::{check_cross_signing_key, find_signature, is_signed, signed_part},
};
use plexus_proto::{common::v1::ErrorReason, log::v1::UploadCrossSigningKeys};
use ruma::UserId;

use super::{CrossSigningKey, KeyChange, MASTER, SELF_SIGNING, USER_SIGNING};
use crate::users::apply::{Stop, Work, refuse};

/// Most bytes of a cross-signing key with its signatures.
const MAX_CROSS_SIGNING_KEY_BYTES: usize = 16 * 1024;

/// A key that comes, in all its forms.
struct Coming {
    stored: CrossSigningKey,
    object: Object,
}

/// Sets cross-signing keys.
pub(in crate::users) fn upload_cross_signing(
    work: &mut Work<'_>,
    command: &UploadCrossSigningKeys,
) -> Result<(), Stop> {
    work.active_account()?;
    let UploadCrossSigningKeys { master_key, self_signing_key, user_signing_key, authenticated } = command;
    let user_id = work.record.user_id.clone();
    let mut coming: BTreeMap<&str, Coming> = BTreeMap::new();
    for (usage, key) in
        [(MASTER, master_key), (SELF_SIGNING, self_signing_key), (USER_SIGNING, user_signing_key)]
    {
        if !key.is_empty() {
            coming.insert(usage, read(&user_id, usage, key)?);
        }
    }
    let old_master = work.user.keys.cross_signing.get(MASTER).cloned();
    let new_master = coming.get(MASTER).filter(|new| is_new(old_master.as_ref(), new)).is_some();
    coming.retain(|usage, new| {
        // What the old master key has signed, the new one signs again.
        (new_master && *usage != MASTER) || is_new(work.user.keys.cross_signing.get(*usage), new)
    });
    if coming.is_empty() {
        return Ok(());
    }
    if old_master.is_some() && !authenticated {
        return refuse(ErrorReason::BadState, "changing cross-signing keys needs authentication");
    }
    let Some(master) = coming
        .get(MASTER)
        .map(|new| new.stored.public_key.clone())
        .or_else(|| old_master.as_ref().map(|old| old.public_key.clone()))
    else {
        return refuse(ErrorReason::MissingParam, "there is no master key");
    };
    let master_id = format!("ed25519:{master}");
    for (usage, new) in &coming {
        if work.user.devices.contains_key(&new.stored.public_key) {
            return refuse(ErrorReason::InvalidParam, format!("the {usage} key is the ID of a device"));
        }
        let is_valid = |signature| is_signed(&new.object, &master, signature);
        if *usage != MASTER && !find_signature(&new.object, &user_id, &master_id).is_some_and(is_valid) {
            let message = format!("the {usage} key is not signed by the master key");
            return refuse(ErrorReason::InvalidSignature, message);
        }
    }
    for usage in [MASTER, SELF_SIGNING, USER_SIGNING] {
        let new = coming.remove(usage).map(|new| new.stored);
        // Without a word about it, what an old master key signed goes with it.
        if new.is_some() || (new_master && usage != MASTER) {
            replace(work, usage, new);
        }
    }
    let seq = work.tell_keys_changed();
    work.change_key(KeyChange::SigningKeys(seq));
    Ok(())
}

/// Puts a key into the place of another; signatures by the old one, and on it, are void.
fn replace(work: &mut Work<'_>, usage: &str, new: Option<CrossSigningKey>) {
    let cross_signing = &mut work.user.keys.cross_signing;
    let old = match &new {
        Some(new) => cross_signing.insert(usage.to_owned(), new.clone()),
        None => cross_signing.remove(usage),
    };
    let kept = new.as_ref().map(|new| new.public_key.as_str());
    let had = old.is_some();
    if let Some(old) = old.filter(|old| Some(old.public_key.as_str()) != kept) {
        work.user.keys.signatures.clear();
        work.change_key(KeyChange::SignerGone(format!("ed25519:{}", old.public_key)));
        work.change_key(KeyChange::Unsigned(old.public_key));
    }
    if had || new.is_some() {
        work.change_key(KeyChange::CrossSigning(usage.to_owned(), new));
    }
}

/// Whether a key is another one than is stored. Signatures on it do not matter: whoever adds some uploads signatures.
fn is_new(stored: Option<&CrossSigningKey>, new: &Coming) -> bool {
    let part =
        |key: &CrossSigningKey| canonical::parse_object(&key.key).ok().map(|object| signed_part(&object));
    stored.and_then(part) != Some(signed_part(&new.object))
}

fn read(user_id: &str, usage: &str, key: &Bytes) -> Result<Coming, Stop> {
    if key.len() > MAX_CROSS_SIGNING_KEY_BYTES {
        return refuse(
            ErrorReason::TooLarge,
            format!("the {usage} key exceeds {MAX_CROSS_SIGNING_KEY_BYTES} bytes"),
        );
    }
    let user_id = <&UserId>::try_from(user_id).map_err(|error| Stop::Poison(error.to_string()))?;
    let object =
        canonical::parse_object(key).map_err(|error| Stop::Refuse(ErrorReason::BadJson, error.detail()))?;
    let public_key = check_cross_signing_key(&object, user_id, usage)
        .map_err(|error| Stop::Refuse(ErrorReason::InvalidParam, error.to_string()))?
        .to_owned();
    Ok(Coming { stored: CrossSigningKey { public_key, key: key.clone() }, object })
}
