//! Writes display names and avatars into member events, as the profiles of their users have them.

use plexus_events::canonical::{Object, Value};
use ruma::UserId;

use super::{
    load_request::MemberProfile,
    rows::ProfileMarkRow,
    work::{Stop, Work},
};

const DISPLAY_NAME: &str = "displayname";
const AVATAR_URL: &str = "avatar_url";

/// Completes the content of a member event of a local user. Returns the version of the profile.
pub(super) fn complete(
    work: &mut Work<'_>,
    state_key: Option<&str>,
    content: &mut Object,
) -> Result<Option<i64>, Stop> {
    let user = state_key.and_then(|user| <&UserId>::try_from(user).ok());
    let Some(user) = user.filter(|user| user.server_name() == work.env.server_name) else { return Ok(None) };
    let profile = work.profile(user)?;
    profile.write(content);
    Ok(Some(profile.version))
}

impl MemberProfile {
    fn fields(&self) -> [(&'static str, Option<&String>); 2] {
        [(DISPLAY_NAME, self.displayname.as_ref()), (AVATAR_URL, self.avatar_url.as_ref())]
    }

    pub(super) fn write(&self, content: &mut Object) {
        for (key, value) in self.fields() {
            match value {
                Some(value) => content.insert(key.to_owned(), Value::String(value.clone())),
                None => content.remove(key),
            };
        }
    }

    pub(super) fn is_in(&self, content: &Object) -> bool {
        self.fields().into_iter().all(|(key, value)| match (content.get(key), value) {
            (Some(Value::String(held)), Some(value)) => held == value,
            (None | Some(Value::Null), None) => true,
            _ => false,
        })
    }
}

impl Work<'_> {
    /// Returns the profile of a local user.
    pub(super) fn profile(&mut self, user: &UserId) -> Result<MemberProfile, Stop> {
        if user.as_str().contains('\0') {
            return Ok(MemberProfile::default());
        }
        self.found(self.loaded.profiles.get(user).cloned(), |request| {
            request.profiles.insert(user.to_owned());
        })
    }

    /// Notes that the member event of a user has this version of the profile.
    pub(super) fn mark_profile(&mut self, user: &UserId, version: i64) {
        let room_nid = self.room.identity.nid;
        self.rows.profile_marks.push(ProfileMarkRow { room_nid, user_id: user.to_owned(), version });
    }
}
