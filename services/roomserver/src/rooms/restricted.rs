//! Authorizes joins of restricted rooms: looks for a membership in an allowed room, and for a local user who vouches for it.

use plexus_events::canonical;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;

use super::{
    state::MEMBER,
    work::{Stop, Work, all},
};

const AUTHORISED_VIA: &str = "join_authorised_via_users_server";
/// Most allow rules that are looked at.
const MAX_ALLOW: usize = 64;
/// Most users who are asked whether they can vouch.
const MAX_VOUCHERS: usize = 64;

#[derive(Deserialize)]
struct JoinRules {
    join_rule: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
}

/// Rules of unknown types are skipped, so their fields may be anything.
#[derive(Deserialize)]
#[serde(untagged)]
enum Allow {
    Room {
        #[serde(rename = "type")]
        kind: String,
        room_id: OwnedRoomId,
    },
    Other(serde::de::IgnoredAny),
}

/// Names in the content of a member event who of this server vouches for it: nobody, unless it is a join that needs that.
///
/// Whom the writer of the intent has named is dropped. Our signature is all that the rules ask of a voucher of ours, so
/// whoever could name one would join any restricted room; and a voucher of another server would have to sign the event,
/// which makes it a finished event and no intent. If nobody can vouch, the rules refuse the join.
pub(super) fn authorize_join(
    work: &mut Work<'_>,
    sender: &UserId,
    state_key: Option<&str>,
    content: &mut canonical::Object,
) -> Result<(), Stop> {
    content.remove(AUTHORISED_VIA);
    let joins = content.get("membership").and_then(canonical::Value::as_str) == Some("join");
    let rules = &work.rules().rules.authorization;
    if !joins || state_key != Some(sender.as_str()) || !rules.restricted_join_rule {
        return Ok(());
    }
    let join_rules = work.state("m.room.join_rules", "");
    let member = work.state(MEMBER, sender.as_str())?;
    let join_rules = join_rules?;
    let membership = member.and_then(|member| member.membership.clone());
    if matches!(membership.as_deref(), Some("join" | "invite" | "ban")) {
        return Ok(());
    }
    let Some(join_rules) = join_rules else { return Ok(()) };
    let Ok(join_rules) = join_rules.pdu.content_as::<JoinRules>() else { return Ok(()) };
    let restricted = match join_rules.join_rule.as_deref() {
        Some("restricted") => true,
        Some("knock_restricted") => rules.knock_restricted_join_rule,
        Some(_) | None => false,
    };
    if restricted
        && is_let_in(work, sender, &join_rules.allow)?
        && let Some(voucher) = find_voucher(work)?
    {
        content.insert(AUTHORISED_VIA.to_owned(), canonical::Value::String(voucher.to_string()));
    }
    Ok(())
}

/// Whether the user is joined to one of the rooms that let users in.
fn is_let_in(work: &mut Work<'_>, user: &UserId, allow: &[Allow]) -> Result<bool, Stop> {
    let rooms = allow.iter().take(MAX_ALLOW).filter_map(|rule| match rule {
        Allow::Room { kind, room_id } if kind == "m.room_membership" => Some(room_id),
        _ => None,
    });
    let own = work.room_id().to_owned();
    let joined = all(rooms.filter(|room| **room != own).map(|room| is_joined(work, room, user)))?;
    Ok(joined.contains(&true))
}

fn is_joined(work: &mut Work<'_>, room_id: &RoomId, user: &UserId) -> Result<bool, Stop> {
    let key = (room_id.to_owned(), user.to_owned());
    let joined = work.loaded.memberships.get(&key).map(|membership| membership.as_deref() == Some("join"));
    work.found(joined, |request| {
        request.memberships.insert(key);
    })
}

/// Finds a joined user of this server with the power to invite.
fn find_voucher(work: &mut Work<'_>) -> Result<Option<OwnedUserId>, Stop> {
    let named = work.with_power(|power| {
        let needed = power.to_invite()?;
        let mut able = Vec::new();
        for user in power.named_users()? {
            if power.of_user(&user)? >= needed {
                able.push(user);
            }
        }
        Ok(able)
    })?;
    if let Some(voucher) = first_joined(work, named)? {
        return Ok(Some(voucher));
    }
    let nid = work.room.identity.nid;
    let joined = work.found(work.loaded.joined_local.get(&nid).cloned(), |request| {
        request.joined_local.insert(nid);
    })?;
    let able = work.with_power(|power| {
        let needed = power.to_invite()?;
        let mut able = Vec::new();
        for user in joined {
            if power.of_user(&user)? >= needed {
                able.push(user);
            }
        }
        Ok(able)
    })?;
    first_joined(work, able)
}

/// Finds the first of some users who is of this server and joined now.
fn first_joined(work: &mut Work<'_>, users: Vec<OwnedUserId>) -> Result<Option<OwnedUserId>, Stop> {
    let ours = users.into_iter().filter(|user| user.server_name() == work.env.server_name);
    let ours: Vec<_> = ours.take(MAX_VOUCHERS).collect();
    for user in ours {
        let member = work.state(MEMBER, user.as_str())?;
        if member.and_then(|member| member.membership.clone()).as_deref() == Some("join") {
            return Ok(Some(user));
        }
    }
    Ok(None)
}
