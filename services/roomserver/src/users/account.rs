//! Accounts: registering, passwords, deactivating.

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        Deactivate, Deactivated, PasswordChanged, Register, Registered, SetPassword, output_user_event::Fact,
    },
};

use super::{
    apply::{Stop, Work, check_name, refuse},
    devices, keys, media, profile, session,
    state::{Account, Change, MemberJob},
};

/// Most bytes of a password hash in PHC format.
const MAX_HASH_BYTES: usize = 1024;

/// Creates the account.
pub(super) fn register(work: &mut Work<'_>, command: &Register) -> Result<(), Stop> {
    let known = work.user.account.as_ref();
    let is_guest = known.is_some_and(|account| account.guest && !account.deactivated);
    if command.upgrades_guest != is_guest || (known.is_some() && !is_guest) {
        return refuse(ErrorReason::UserInUse, "the user ID is taken");
    }
    let created_ts = known.map_or(work.record.produced_ts, |account| account.created_ts);
    let profile_version = known.map_or(0, |account| account.profile_version);
    check_name("password_hash", &command.password_hash, MAX_HASH_BYTES)?;
    if is_guest {
        // Sessions know whether they are a guest's.
        let all = work.user.devices.keys().cloned().collect();
        devices::remove(work, all);
    }
    let account = Account {
        password_hash: (!command.password_hash.is_empty()).then(|| command.password_hash.clone()),
        guest: command.guest,
        admin: command.admin,
        deactivated: false,
        erased_ts: None,
        created_ts,
        profile_version,
    };
    work.put_account(account);
    work.put_out(Fact::Registered(Registered { guest: command.guest }));
    if let Some(name) = &command.display_name {
        let value = Bytes::from(serde_json::Value::String(name.clone()).to_string());
        profile::set(work, "displayname", value)?;
    }
    match &command.session {
        Some(session) => session::start(work, session),
        None => Ok(()),
    }
}

/// Changes the password, and ends other sessions if asked.
pub(super) fn set_password(work: &mut Work<'_>, command: &SetPassword) -> Result<(), Stop> {
    let mut account = work.active_account()?.clone();
    check_name("password_hash", &command.password_hash, MAX_HASH_BYTES)?;
    if command.password_hash.is_empty() {
        return refuse(ErrorReason::InvalidParam, "password_hash is empty");
    }
    account.password_hash = Some(command.password_hash.clone());
    work.put_account(account);
    work.put_out(Fact::PasswordChanged(PasswordChanged {}));
    if command.logout_devices {
        let keep = command.keep_device_id.as_str();
        let gone = work.user.devices.keys().filter(|id| *id != keep).cloned().collect();
        devices::remove(work, gone);
    }
    Ok(())
}

/// Deactivates the account for good. A repeat changes nothing, but may still ask to be erased.
pub(super) fn deactivate(work: &mut Work<'_>, command: &Deactivate) -> Result<(), Stop> {
    let Some(account) = &work.user.account else {
        return refuse(ErrorReason::NotFound, "there is no such account");
    };
    let mut account = account.clone();
    if account.deactivated && (account.erased_ts.is_some() || !command.erase) {
        return Ok(());
    }
    account.password_hash = None;
    account.deactivated = true;
    if command.erase {
        account.erased_ts = account.erased_ts.or(Some(work.record.produced_ts));
    }
    work.put_account(account);
    let all = work.user.devices.keys().cloned().collect();
    devices::remove(work, all);
    keys::remove_user(work);
    if command.erase {
        for field in std::mem::take(&mut work.user.profile).into_keys() {
            work.changes.push(Change::Profile(field, None));
        }
        media::drop_all(work);
    }
    work.begin_job(MemberJob::Leave);
    for room_id in std::mem::take(&mut work.user.out_of_band).into_keys() {
        work.changes.push(Change::OutOfBand(room_id, None));
    }
    work.changes.push(Change::BackupsDropped);
    work.user.contents.clear();
    work.user.told.clear();
    work.user.positions.clear();
    for (room_id, data_type) in std::mem::take(&mut work.user.account_data).into_keys() {
        work.changes.push(Change::AccountData(room_id, data_type, None));
    }
    work.put_out(Fact::Deactivated(Deactivated { erase: command.erase }));
    Ok(())
}
