//! Devices: renaming and removing. A device and its tokens go together.

use std::collections::BTreeSet;

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{DeleteDevices, DevicesChanged, NoteSeen, UpdateDevice, output_user_event::Fact},
};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    keys, session,
    state::Change,
    to_device,
};

/// How long a device counts as seen, in milliseconds: not each request is worth a row.
pub(crate) const SEEN_FOR: i64 = 60 * 60 * 1_000;

/// Notes that a device was seen. Nobody but its user is told, when they ask.
pub(super) fn note_seen(work: &mut Work<'_>, command: &NoteSeen) -> Result<(), Stop> {
    let seen = work.record.produced_ts;
    let Some(device) = work.user.devices.get_mut(&command.device_id) else { return Ok(()) };
    if seen < device.last_seen_ts.saturating_add(SEEN_FOR) {
        return Ok(());
    }
    check_name("ip", &command.ip, MAX_NAME_BYTES)?;
    device.last_seen_ts = seen;
    if !command.ip.is_empty() {
        device.last_seen_ip.clone_from(&command.ip);
    }
    work.changes.push(Change::Device(command.device_id.clone(), Some(device.clone())));
    Ok(())
}

/// Renames a device.
pub(super) fn update(work: &mut Work<'_>, command: &UpdateDevice) -> Result<(), Stop> {
    work.active_account()?;
    let Some(device) = work.user.devices.get_mut(&command.device_id) else {
        return refuse(ErrorReason::NotFound, "there is no such device");
    };
    let Some(name) = &command.display_name else { return Ok(()) };
    check_name("display_name", name, MAX_NAME_BYTES)?;
    if device.display_name.as_ref() == Some(name) {
        return Ok(());
    }
    device.display_name = Some(name.clone());
    work.changes.push(Change::Device(command.device_id.clone(), Some(device.clone())));
    let changed = vec![command.device_id.clone()];
    let seq = work.put_out(Fact::DevicesChanged(DevicesChanged { changed, ..DevicesChanged::default() }));
    work.note_keys_changed(seq);
    work.note_devices_changed(seq, [&command.device_id]);
    Ok(())
}

/// Ends sessions. Devices that do not exist are ignored.
pub(super) fn delete(work: &mut Work<'_>, command: &DeleteDevices) -> Result<(), Stop> {
    if work.user.account.is_none() {
        return refuse(ErrorReason::NotFound, "there is no such account");
    }
    let gone = if command.all {
        work.user.devices.keys().cloned().collect()
    } else {
        let asked: BTreeSet<&String> = command.device_ids.iter().collect();
        asked.into_iter().filter(|id| work.user.devices.contains_key(*id)).cloned().collect()
    };
    remove(work, gone);
    Ok(())
}

/// Removes devices that exist, with all their tokens.
pub(super) fn remove(work: &mut Work<'_>, device_ids: Vec<String>) {
    if device_ids.is_empty() {
        return;
    }
    for device_id in &device_ids {
        work.user.devices.remove(device_id);
        work.changes.push(Change::Device(device_id.clone(), None));
        to_device::drop_inbox(work, device_id);
        session::revoke_device(work, device_id);
        keys::remove_device(work, device_id);
    }
    let seq = work.put_out(Fact::DevicesChanged(DevicesChanged {
        changed: Vec::new(),
        removed: device_ids.clone(),
        logged_out: work.user.devices.is_empty(),
    }));
    work.note_keys_changed(seq);
    work.note_devices_changed(seq, &device_ids);
}
