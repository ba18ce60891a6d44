//! Publishing keys, and claiming one-time keys.

use std::collections::BTreeSet;

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{ClaimKeys, ClaimedKey, ClaimedKeys, PublishedKey, UploadKeys},
};
use prost::Message as _;
use serde_json::Value;

use super::{DeviceKeys, FallbackKey, KeyChange, OneTimeKey};
use crate::users::apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse};

/// Most bytes of the identity keys of a device.
const MAX_DEVICE_KEYS_BYTES: usize = 64 * 1024;
/// Most bytes of a one-time or fallback key.
const MAX_KEY_BYTES: usize = 2048;
/// Most one-time keys of a device and an algorithm.
const MAX_ONE_TIME_KEYS: u32 = 200;
/// Most algorithms of which a device has one-time or fallback keys.
const MAX_KEY_ALGORITHMS: usize = 8;
/// Most claims of a command: their keys have to fit into its answer.
const MAX_CLAIMS: usize = 24;

/// Publishes keys of a device, all or none.
pub(in crate::users) fn upload(work: &mut Work<'_>, command: &UploadKeys) -> Result<(), Stop> {
    work.active_account()?;
    let device_id = command.device_id.as_str();
    if !work.user.devices.contains_key(device_id) {
        return refuse(ErrorReason::NotFound, "there is no such device");
    }
    if command.device_keys.len() > MAX_DEVICE_KEYS_BYTES {
        return refuse(ErrorReason::TooLarge, format!("device_keys exceeds {MAX_DEVICE_KEYS_BYTES} bytes"));
    }
    let mut device = work.user.keys.devices.remove(device_id).unwrap_or_default();
    let had_keys = device.keys.is_some();
    let new_identity = !command.device_keys.is_empty() && device.keys.as_ref() != Some(&command.device_keys);
    let new_keys = add_one_time_keys(&mut device, &command.one_time_keys)?;
    let new_fallback = add_fallback_keys(&mut device, &command.fallback_keys)?;
    let generation = work.user.keys.generation;
    if !new_keys.is_empty() || !new_fallback.is_empty() {
        let seq = work.next_seq();
        for (index, key) in (0_i32..).zip(new_keys) {
            let row = OneTimeKey { key: key.key.clone(), generation, seq, index };
            work.change_key(KeyChange::OneTime(
                device_id.to_owned(),
                key.algorithm.clone(),
                key.key_id.clone(),
                Some(row),
            ));
        }
        for (algorithm, key) in new_fallback {
            work.change_key(KeyChange::Fallback(device_id.to_owned(), algorithm, key, generation));
        }
        work.tell_counts(device_id, device.counts());
    }
    if new_identity {
        if had_keys {
            // What was signed is not what is there now.
            work.change_key(KeyChange::Unsigned(device_id.to_owned()));
        }
        device.keys = Some(command.device_keys.clone());
        let seq = work.next_seq();
        work.change_key(KeyChange::Device(device_id.to_owned(), command.device_keys.clone(), seq));
        let seq = work.tell_keys_changed();
        work.note_devices_changed(seq, [&command.device_id]);
    }
    work.answer(Bytes::from(device.counts().encode_to_vec()));
    work.user.keys.devices.insert(device_id.to_owned(), device);
    Ok(())
}

/// Adds one-time keys; returns those that are new.
fn add_one_time_keys<'a>(
    device: &mut DeviceKeys,
    keys: &'a [PublishedKey],
) -> Result<Vec<&'a PublishedKey>, Stop> {
    let mut new = Vec::new();
    for key in keys {
        check(key)?;
        let PublishedKey { algorithm, key_id, key: value } = key;
        let name = (algorithm.clone(), key_id.clone());
        if let Some(old) = device.named.get(&name) {
            if is_same(old, value) {
                continue;
            }
            // Clients read these words.
            let message = format!(
                "One time key {algorithm}:{key_id} already exists. Old key: {}; new key: {}",
                String::from_utf8_lossy(old),
                String::from_utf8_lossy(value)
            );
            return refuse(ErrorReason::Duplicate, message);
        }
        device.named.insert(name, value.clone());
        device.oldest.entry(algorithm.clone()).or_default().push_back((key_id.clone(), value.clone()));
        let count = device.counts.entry(algorithm.clone()).or_default();
        *count += 1;
        if *count > MAX_ONE_TIME_KEYS {
            let message = format!("a device has at most {MAX_ONE_TIME_KEYS} one-time keys of an algorithm");
            return refuse(ErrorReason::InvalidParam, message);
        }
        new.push(key);
    }
    check_algorithms(device.counts.len())?;
    Ok(new)
}

/// Sets fallback keys; returns those that are new.
fn add_fallback_keys(
    device: &mut DeviceKeys,
    keys: &[PublishedKey],
) -> Result<Vec<(String, FallbackKey)>, Stop> {
    let mut new = Vec::new();
    for key in keys {
        check(key)?;
        let PublishedKey { algorithm, key_id, key: value } = key;
        let old = device.fallback.get(algorithm);
        if old.is_some_and(|old| old.key_id == *key_id && is_same(&old.key, value)) {
            continue;
        }
        let key = FallbackKey { key_id: key_id.clone(), key: value.clone(), used: false };
        device.fallback.insert(algorithm.clone(), key.clone());
        new.push((algorithm.clone(), key));
    }
    check_algorithms(device.fallback.len())?;
    Ok(new)
}

fn check_algorithms(count: usize) -> Result<(), Stop> {
    if count > MAX_KEY_ALGORITHMS {
        let message = format!("a device has keys of at most {MAX_KEY_ALGORITHMS} algorithms");
        return refuse(ErrorReason::InvalidParam, message);
    }
    Ok(())
}

fn check(key: &PublishedKey) -> Result<(), Stop> {
    check_name("the algorithm of a key", &key.algorithm, MAX_NAME_BYTES)?;
    check_name("the ID of a key", &key.key_id, MAX_NAME_BYTES)?;
    if key.key.len() > MAX_KEY_BYTES {
        return refuse(ErrorReason::TooLarge, format!("a key exceeds {MAX_KEY_BYTES} bytes"));
    }
    Ok(())
}

/// Whether both are the same public key: clients sign a key anew when they upload it again.
fn is_same(old: &[u8], new: &[u8]) -> bool {
    let public = |text: &[u8]| {
        let value: Option<Value> = serde_json::from_slice(text).ok();
        value.and_then(|value| value.get("key").cloned().or(Some(value)))
    };
    old == new || public(old).is_some_and(|old| Some(old) == public(new))
}

/// Hands out keys, each to this input alone.
pub(in crate::users) fn claim(work: &mut Work<'_>, command: &ClaimKeys) -> Result<(), Stop> {
    if command.claims.len() > MAX_CLAIMS {
        return Err(Stop::Poison(format!("more than {MAX_CLAIMS} claims")));
    }
    let generation = work.user.keys.generation;
    let mut claimed = ClaimedKeys::default();
    let mut changed: BTreeSet<&str> = BTreeSet::new();
    for claim in &command.claims {
        let (device_id, algorithm) = (claim.device_id.as_str(), claim.algorithm.as_str());
        if !work.user.devices.contains_key(device_id) {
            continue;
        }
        let Some(device) = work.user.keys.devices.get_mut(device_id) else { continue };
        let oldest = device.oldest.get_mut(algorithm).and_then(|keys| keys.pop_front());
        let (key_id, key) = if let Some((key_id, key)) = oldest {
            if let Some(count) = device.counts.get_mut(algorithm) {
                *count = count.saturating_sub(1);
            }
            device.named.remove(&(algorithm.to_owned(), key_id.clone()));
            work.change_key(KeyChange::OneTime(
                device_id.to_owned(),
                algorithm.to_owned(),
                key_id.clone(),
                None,
            ));
            changed.insert(device_id);
            (key_id, key)
        } else if let Some(fallback) = device.fallback.get_mut(algorithm) {
            let given = (fallback.key_id.clone(), fallback.key.clone());
            if !fallback.used {
                fallback.used = true;
                let row = fallback.clone();
                work.change_key(KeyChange::Fallback(
                    device_id.to_owned(),
                    algorithm.to_owned(),
                    row,
                    generation,
                ));
                changed.insert(device_id);
            }
            given
        } else {
            continue;
        };
        let (device_id, algorithm) = (device_id.to_owned(), algorithm.to_owned());
        claimed.keys.push(ClaimedKey { device_id, algorithm, key_id, key });
    }
    for device_id in changed {
        if let Some(counts) = work.user.keys.devices.get(device_id).map(DeviceKeys::counts) {
            work.tell_counts(device_id, counts);
        }
    }
    work.answer(Bytes::from(claimed.encode_to_vec()));
    Ok(())
}
