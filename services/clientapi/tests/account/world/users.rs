//! Users in maps, changed by the commands of the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{Intent, NewSession, input_user_event::Command},
};
use plexus_push::{EditError, Place, Rules};
use ruma::user_id;
use serde_json::{Value, json};

/// The users of a server.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) accounts: BTreeMap<String, Account>,
    /// Member events of joined rooms, by room: what the room server would answer.
    pub(crate) members: BTreeMap<String, String>,
    /// Intents that arrived, with their room.
    pub(crate) intents: Vec<(String, Intent)>,
    /// What input a service refuses next, and why.
    pub(crate) refuse_next: Option<ErrorReason>,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) password_hash: String,
    pub(crate) guest: bool,
    pub(crate) admin: bool,
    pub(crate) deactivated: bool,
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) profile: BTreeMap<String, Bytes>,
    pub(crate) data: BTreeMap<(String, String), Bytes>,
    pub(crate) filters: BTreeMap<String, Bytes>,
}

#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) name: Option<String>,
    pub(crate) access_hash: Bytes,
    pub(crate) refresh_hash: Bytes,
    pub(crate) expires_ts: i64,
}

impl Users {
    pub(super) fn apply(&mut self, user: &str, command: Command) -> Result<(), ErrorReason> {
        if let Some(reason) = self.refuse_next.take() {
            return Err(reason);
        }
        if let Command::Register(register) = command {
            if self.accounts.contains_key(user) {
                return Err(ErrorReason::UserInUse);
            }
            let mut account = Account {
                password_hash: register.password_hash,
                guest: register.guest,
                admin: register.admin,
                ..Account::default()
            };
            if let Some(name) = register.display_name {
                account.profile.insert("displayname".to_owned(), format!("{name:?}").into());
            }
            if let Some(session) = register.session {
                account.start(session);
            }
            self.accounts.insert(user.to_owned(), account);
            return Ok(());
        }
        let account = self.accounts.get_mut(user).ok_or(ErrorReason::NotFound)?;
        account.apply(command)
    }
}

impl Account {
    fn start(&mut self, session: NewSession) {
        let device = Device {
            name: session.initial_display_name,
            access_hash: session.access_token_hash,
            refresh_hash: session.refresh_token_hash,
            expires_ts: session.expires_ts,
        };
        self.devices.insert(session.device_id, device);
    }

    fn rules(&mut self, change: impl FnOnce(&mut Rules) -> Result<(), EditError>) -> Result<(), ErrorReason> {
        let key = (String::new(), "m.push_rules".to_owned());
        let user = user_id!("@somebody:test");
        let mut rules = match self.data.get(&key) {
            Some(content) => Rules::parse(content, user).expect("stored rules can be read"),
            None => Rules::predefined(user),
        };
        change(&mut rules).map_err(|error| match error {
            EditError::NotFound => ErrorReason::NotFound,
            EditError::Invalid(_) => ErrorReason::InvalidParam,
            EditError::TooMany => ErrorReason::LimitExceeded,
        })?;
        self.data.insert(key, rules.content().expect("rules can be written").into());
        Ok(())
    }

    fn apply(&mut self, command: Command) -> Result<(), ErrorReason> {
        match command {
            Command::Register(_) => return Err(ErrorReason::UserInUse),
            Command::Login(login) => self.start(login.session.expect("a login has a session")),
            Command::RefreshTokens(refresh) => {
                let device = self
                    .devices
                    .values_mut()
                    .find(|device| device.refresh_hash == refresh.refresh_token_hash)
                    .ok_or(ErrorReason::UnknownToken)?;
                device.access_hash = refresh.new_access_token_hash;
                device.refresh_hash = refresh.new_refresh_token_hash;
                device.expires_ts = refresh.expires_ts;
            }
            Command::UpdateDevice(update) => {
                let device = self.devices.get_mut(&update.device_id).ok_or(ErrorReason::NotFound)?;
                device.name = update.display_name.or(device.name.take());
            }
            Command::DeleteDevices(delete) => {
                self.devices.retain(|id, _| !delete.all && !delete.device_ids.contains(id));
            }
            Command::SetPassword(set) => {
                self.password_hash = set.password_hash;
                self.devices.retain(|id, _| !set.logout_devices || *id == set.keep_device_id);
            }
            Command::Deactivate(_) => {
                self.deactivated = true;
                self.password_hash.clear();
                self.devices.clear();
            }
            Command::SetProfileField(set) if set.value.is_empty() => drop(self.profile.remove(&set.field)),
            Command::SetProfileField(set) => drop(self.profile.insert(set.field, set.value)),
            Command::SetAccountData(set) => {
                drop(self.data.insert((set.room_id, set.r#type), set.content));
            }
            Command::SetFilter(set) => drop(self.filters.insert(set.filter_id, set.filter)),
            Command::PutPushRule(put) => self.rules(|rules| {
                let named = |id: &str| (!id.is_empty()).then(|| id.to_owned());
                let (before, after) = (named(&put.before), named(&put.after));
                let place = Place { before: before.as_deref(), after: after.as_deref() };
                rules.put(&put.kind, &put.rule_id, &put.rule, place)
            })?,
            Command::DeletePushRule(delete) => {
                self.rules(|rules| rules.delete(&delete.kind, &delete.rule_id))?;
            }
            Command::EnablePushRule(set) => {
                self.rules(|rules| rules.enable(&set.kind, &set.rule_id, set.enabled))?;
            }
            Command::SetPushRuleActions(set) => {
                self.rules(|rules| rules.set_actions(&set.kind, &set.rule_id, &set.actions))?;
            }
            Command::SetTag(set) => {
                let known = self.data.entry((set.room_id, "m.tag".to_owned())).or_default();
                let mut content: Value =
                    serde_json::from_slice(known).unwrap_or_else(|_| json!({ "tags": {} }));
                let tags = content["tags"].as_object_mut().expect("tags are an object");
                match serde_json::from_slice(&set.content) {
                    Ok(value) => drop(tags.insert(set.tag, value)),
                    Err(_) => drop(tags.remove(&set.tag)),
                }
                *known = content.to_string().into();
            }
            // Only the room server itself writes it.
            Command::ConfirmTokens(_) => {}
            // Nothing of the account changes.
            Command::NoteSeen(_)
            | Command::Report(_)
            | Command::SendToDevice(_)
            | Command::AckToDevice(_)
            | Command::CreateBackup(_)
            | Command::UpdateBackup(_)
            | Command::DeleteBackup(_)
            | Command::PutBackupKeys(_)
            | Command::DeleteBackupKeys(_)
            | Command::UploadKeys(_)
            | Command::ClaimKeys(_)
            | Command::UploadCrossSigningKeys(_)
            | Command::UploadSignatures(_)
            | Command::NoteRemoteKeys(_)
            | Command::QueueToDevice(_)
            | Command::ReserveMedia(_)
            | Command::CommitMedia(_)
            | Command::CommitRemoteMedia(_)
            | Command::AddThumbnail(_)
            | Command::TouchMedia(_)
            | Command::SetMediaQuarantine(_)
            | Command::DeleteMedia(_)
            | Command::EvictMedia(_)
            | Command::PurgeUserMedia(_)
            | Command::SetOutOfBandMembership(_) => {}
        }
        Ok(())
    }
}
