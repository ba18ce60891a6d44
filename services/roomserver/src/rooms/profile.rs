//! Writes display names and avatars into member events, as the profiles of their users have them.

use plexus_events::canonical::{self, Object, Value};
use plexus_proto::log::v1::{Intent, UpdateProfile};
use ruma::UserId;

use super::{
    intent::{self, local_user},
    outcome::ProfileMarkRow,
    source::MemberProfile,
    state::MEMBER,
    work::{Stop, Work},
};

const DISPLAY_NAME: &str = "displayname";
const AVATAR_URL: &str = "avatar_url";
/// What a member event says of the change that it makes, and not of the member.
const OF_ONE_CHANGE: [&str; 2] = ["reason", "third_party_invite"];

/// Completes the content of a member event of a local user. Returns the version of the profile.
pub(super) fn complete(
    work: &mut Work<'_>,
    state_key: Option<&str>,
    content: &mut Object,
) -> Result<Option<i64>, Stop> {
    let user = state_key.and_then(|user| <&UserId>::try_from(user).ok());
    let Some(user) = user.filter(|user| user.server_name() == work.env.server_name) else { return Ok(None) };
    let profile = work.profile(user);
    work.settle()?;
    Ok(profile.map(|profile| {
        profile.write(content);
        profile.version
    }))
}

/// Puts a profile into the member event of a user who is joined; returns the `seq` of the event, 0 if there is none.
///
/// The profile is read after this was written to the log, so that of several updates the last one has the latest. Nobody
/// is brought back: who is not joined any more is left alone.
pub(super) fn update(work: &mut Work<'_>, request: &UpdateProfile) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let member = work.state(MEMBER, user.as_str())?;
    let profile = work.profile(user);
    work.settle()?;
    let member = member.flatten().filter(|member| member.membership.as_deref() == Some("join"));
    let (Some(member), Some(profile)) = (member, profile) else { return Ok(0) };
    let parsed = canonical::parse_object(member.pdu.content_text().as_bytes());
    let mut content = parsed.map_err(|error| Stop::Poison(format!("stored member event: {error}")))?;
    let seq = if profile.is_in(&content) {
        0
    } else {
        profile.write(&mut content);
        for key in OF_ONE_CHANGE {
            content.remove(key);
        }
        let change = Intent {
            sender: user.to_string(),
            r#type: MEMBER.to_owned(),
            state_key: Some(user.to_string()),
            content: canonical::object_to_vec(&content).into(),
            origin_server_ts: work.record.produced_ts,
            ..Intent::default()
        };
        match intent::send(work, &change) {
            Ok(sent) => sent.seq,
            // The room keeps the old one; asking again would change nothing.
            Err(Stop::Refuse(..)) => 0,
            Err(stop) => return Err(stop),
        }
    };
    work.mark_profile(user, profile.version);
    Ok(seq)
}

impl MemberProfile {
    fn fields(&self) -> [(&'static str, Option<&String>); 2] {
        [(DISPLAY_NAME, self.displayname.as_ref()), (AVATAR_URL, self.avatar_url.as_ref())]
    }

    fn write(&self, content: &mut Object) {
        for (key, value) in self.fields() {
            match value {
                Some(value) => content.insert(key.to_owned(), Value::String(value.clone())),
                None => content.remove(key),
            };
        }
    }

    fn is_in(&self, content: &Object) -> bool {
        self.fields().into_iter().all(|(key, value)| match (content.get(key), value) {
            (Some(Value::String(held)), Some(value)) => held == value,
            (None | Some(Value::Null), None) => true,
            _ => false,
        })
    }
}

impl Work<'_> {
    /// The profile of a local user. `None`: it was noted as lacking.
    fn profile(&mut self, user: &UserId) -> Option<MemberProfile> {
        if user.as_str().contains('\0') {
            return Some(MemberProfile::default());
        }
        let found = self.source.profiles.get(user).cloned();
        if found.is_none() {
            self.needs.profiles.insert(user.to_owned());
        }
        found
    }

    /// Notes that the member event of a user has this version of the profile.
    pub(super) fn mark_profile(&mut self, user: &UserId, version: i64) {
        let room_nid = self.room.identity.nid;
        self.rows.profile_marks.push(ProfileMarkRow { room_nid, user_id: user.to_owned(), version });
    }
}
