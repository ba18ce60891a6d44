//! Profiles.

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{ProfileChanged, SetProfileField, output_user_event::Fact},
};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    json::Bounded,
    state::{Account, Change, MemberJob},
};

/// Most bytes of a profile, as the specification says: of its fields' names and values together.
const MAX_PROFILE_BYTES: usize = 64 * 1024;

/// Fields that member events have, too.
const IN_MEMBER_EVENTS: [&str; 2] = ["displayname", "avatar_url"];

/// Sets or removes a field. What changes in member events is put into those of all rooms by and by.
pub(super) fn set_field(work: &mut Work<'_>, command: &SetProfileField) -> Result<(), Stop> {
    let account = work.active_account()?.clone();
    let field = command.field.as_str();
    let (before, version) = (work.user.profile.get(field).cloned(), work.next_seq());
    store_field(work, command)?;
    if IN_MEMBER_EVENTS.contains(&field) && work.user.profile.get(field) != before.as_ref() {
        work.put_account(Account { profile_version: version, ..account });
        work.changes.push(Change::MemberJob(MemberJob::UpdateProfile, version, work.record.produced_ts));
    }
    Ok(())
}

fn store_field(work: &mut Work<'_>, command: &SetProfileField) -> Result<(), Stop> {
    let SetProfileField { field, value } = command;
    if value.is_empty() {
        if work.user.profile.remove(field).is_some() {
            work.changes.push(Change::Profile(field.clone(), None));
            work.put_out(Fact::ProfileChanged(ProfileChanged { field: field.clone(), value: Bytes::new() }));
        }
        return Ok(());
    }
    set(work, field, value.clone())
}

/// Sets a field; nothing happens if it has the value already.
pub(super) fn set(work: &mut Work<'_>, field: &str, value: Bytes) -> Result<(), Stop> {
    if field.is_empty() {
        return refuse(ErrorReason::InvalidParam, "the name of the profile field is empty");
    }
    check_name("the name of the profile field", field, MAX_NAME_BYTES)?;
    if value.len() > MAX_PROFILE_BYTES {
        return refuse(ErrorReason::TooLarge, format!("a profile has at most {MAX_PROFILE_BYTES} bytes"));
    }
    if serde_json::from_slice::<Bounded>(&value).is_err() {
        return refuse(ErrorReason::BadJson, "the value of the profile field is not JSON");
    }
    let others = work.user.profile.iter().filter(|(name, _)| *name != field);
    // Quotes, colon and comma count too: it is the JSON text that is limited.
    let size: usize = others.map(|(name, value)| name.len() + value.len() + 4).sum();
    if size + field.len() + value.len() + 5 > MAX_PROFILE_BYTES {
        return refuse(ErrorReason::TooLarge, format!("a profile has at most {MAX_PROFILE_BYTES} bytes"));
    }
    if work.user.profile.get(field) == Some(&value) {
        return Ok(());
    }
    work.user.profile.insert(field.to_owned(), value.clone());
    work.changes.push(Change::Profile(field.to_owned(), Some(value.clone())));
    work.put_out(Fact::ProfileChanged(ProfileChanged { field: field.to_owned(), value }));
    Ok(())
}
