//! Puts a changed profile into the member event of a user.

use plexus_events::canonical;
use plexus_proto::log::v1::{Intent, UpdateProfile};

use super::{
    intent,
    state::MEMBER,
    work::{Stop, Work, local_user},
};

/// What a member event says of the change that it makes, and not of the member.
const OF_ONE_CHANGE: [&str; 2] = ["reason", "third_party_invite"];

/// Puts a profile into the member event of a user who is joined; returns the `seq` of the event, 0 if there is none.
///
/// The profile is read after this was written to the log, so that of several updates the last one has the latest. Nobody
/// is brought back: who is not joined any more is left alone.
pub(super) fn update(work: &mut Work<'_>, request: &UpdateProfile) -> Result<i64, Stop> {
    let user = local_user(work, &request.user_id)?;
    let member = work.state(MEMBER, user.as_str());
    let profile = work.profile(user)?;
    let member = member?.filter(|member| member.membership.as_deref() == Some("join"));
    let Some(member) = member else { return Ok(0) };
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
