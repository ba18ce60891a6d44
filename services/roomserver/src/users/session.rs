//! Sessions and their tokens.
//!
//! A refresh makes a new pair of tokens. The old refresh token, and the access token that came with it, stay valid until
//! one of the new pair is used: so a client that never received the new pair can ask again. The use of the new refresh
//! token shows here, when it is exchanged in turn. The use of the new access token shows where tokens are checked; that
//! writes a `ConfirmTokens` command, which revokes the old pair.

use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{ConfirmTokens, DevicesChanged, Login, NewSession, RefreshTokens, output_user_event::Fact},
};

use super::{
    apply::{MAX_NAME_BYTES, Stop, Work, check_name, refuse},
    state::{AccessToken, Change, Device, RefreshToken, TokenHash},
};

/// Most devices of a user.
const MAX_DEVICES: usize = 5_000;

/// Starts a session.
pub(super) fn log_in(work: &mut Work<'_>, command: &Login) -> Result<(), Stop> {
    work.active_account()?;
    match &command.session {
        Some(session) => start(work, session),
        None => Err(Stop::Poison("a login without a session".to_owned())),
    }
}

/// Starts a session on a device, which is new or loses the tokens it had.
pub(super) fn start(work: &mut Work<'_>, session: &NewSession) -> Result<(), Stop> {
    let NewSession { device_id, initial_display_name, access_token_hash, refresh_token_hash, expires_ts } =
        session;
    let access = hash("access_token_hash", access_token_hash)?;
    let refresh = optional_hash("refresh_token_hash", refresh_token_hash)?;
    if device_id.is_empty() {
        return refuse(ErrorReason::InvalidParam, "device_id is empty");
    }
    check_name("device_id", device_id, MAX_NAME_BYTES)?;
    if let Some(name) = initial_display_name {
        check_name("initial_display_name", name, MAX_NAME_BYTES)?;
    }
    let is_new = !work.user.devices.contains_key(device_id);
    if !is_new {
        revoke_device(work, device_id);
    } else {
        // Both would be named alike where they sign.
        if work.user.keys.cross_signing.values().any(|key| key.public_key == *device_id) {
            return refuse(ErrorReason::InvalidParam, "device_id is a cross-signing key");
        }
        if work.user.devices.len() >= MAX_DEVICES {
            return refuse(ErrorReason::LimitExceeded, format!("a user has at most {MAX_DEVICES} devices"));
        }
        let device = Device {
            display_name: initial_display_name.clone(),
            created_ts: work.record.produced_ts,
            last_seen_ts: 0,
            last_seen_ip: String::new(),
        };
        work.changes.push(Change::Device(device_id.clone(), Some(device.clone())));
        work.user.devices.insert(device_id.clone(), device);
    }
    put_pair(work, device_id, access, refresh, *expires_ts);
    let seq = work.put_out(Fact::DevicesChanged(DevicesChanged {
        changed: vec![device_id.clone()],
        removed: Vec::new(),
        logged_out: false,
    }));
    if is_new {
        work.note_keys_changed(seq);
        work.note_devices_changed(seq, [device_id]);
    }
    Ok(())
}

/// Exchanges a refresh token for a new pair.
pub(super) fn refresh(work: &mut Work<'_>, command: &RefreshTokens) -> Result<(), Stop> {
    work.active_account()?;
    let presented = hash("refresh_token_hash", &command.refresh_token_hash)?;
    let access = hash("new_access_token_hash", &command.new_access_token_hash)?;
    let next = optional_hash("new_refresh_token_hash", &command.new_refresh_token_hash)?;
    let Some(token) = work.user.refresh_tokens.get(&presented).cloned() else {
        return refuse(ErrorReason::UnknownToken, "the refresh token is not valid");
    };
    // It is in use: what it replaced is revoked. And a pair it was exchanged for before, which nobody has used, is
    // replaced by this one.
    let mut revoked = revoke_predecessors(work, presented);
    if let Some(unused) = token.next {
        revoked |= revoke_pair(work, unused);
    }
    let device_id = token.device_id.clone();
    match next {
        Some(next) => {
            let exchanged = RefreshToken { next: Some(next), ..token };
            work.changes.push(Change::RefreshToken(presented, Some(exchanged.clone())));
            work.user.refresh_tokens.insert(presented, exchanged);
            put_pair(work, &device_id, access, Some(next), command.expires_ts);
        }
        // No new refresh token: the old one stays, and only one access token lives beside it.
        None => {
            revoked |= revoke_access(work, |token| token.refresh == Some(presented));
            put_access(work, &device_id, access, Some(presented), command.expires_ts);
        }
    }
    tell_revoked(work, revoked);
    Ok(())
}

/// Notes that an access token was used: what its pair replaced is revoked.
pub(super) fn confirm(work: &mut Work<'_>, command: &ConfirmTokens) -> Result<(), Stop> {
    let access = hash("access_token_hash", &command.access_token_hash)?;
    let Some(refresh) = work.user.access_tokens.get(&access).and_then(|token| token.refresh) else {
        return Ok(());
    };
    let revoked = revoke_predecessors(work, refresh);
    tell_revoked(work, revoked);
    Ok(())
}

/// Revokes all tokens of a device.
pub(super) fn revoke_device(work: &mut Work<'_>, device_id: &str) {
    let gone: Vec<TokenHash> = work
        .user
        .refresh_tokens
        .iter()
        .filter(|(_, token)| token.device_id == device_id)
        .map(|(hash, _)| *hash)
        .collect();
    for hash in gone {
        remove_refresh(work, hash);
    }
    revoke_access(work, |token| token.device_id == device_id);
}

/// Revokes the refresh tokens that were exchanged for this one, with their access tokens; tells whether there were any of
/// the latter.
fn revoke_predecessors(work: &mut Work<'_>, refresh: TokenHash) -> bool {
    let old: Vec<TokenHash> = work
        .user
        .refresh_tokens
        .iter()
        .filter(|(_, token)| token.next == Some(refresh))
        .map(|(hash, _)| *hash)
        .collect();
    let mut revoked = false;
    for hash in old {
        revoked |= revoke_pair(work, hash);
    }
    revoked
}

/// Revokes a refresh token and its access tokens; tells whether there were any of the latter.
fn revoke_pair(work: &mut Work<'_>, refresh: TokenHash) -> bool {
    remove_refresh(work, refresh);
    revoke_access(work, |token| token.refresh == Some(refresh))
}

fn remove_refresh(work: &mut Work<'_>, hash: TokenHash) {
    if work.user.refresh_tokens.remove(&hash).is_some() {
        work.changes.push(Change::RefreshToken(hash, None));
    }
}

fn revoke_access(work: &mut Work<'_>, which: impl Fn(&AccessToken) -> bool) -> bool {
    let mut gone: Vec<TokenHash> =
        work.user.access_tokens.iter().filter(|(_, token)| which(token)).map(|(hash, _)| *hash).collect();
    gone.sort_unstable();
    for hash in &gone {
        work.user.access_tokens.remove(hash);
        work.changes.push(Change::AccessToken(*hash, None));
    }
    !gone.is_empty()
}

fn put_pair(
    work: &mut Work<'_>,
    device_id: &str,
    access: TokenHash,
    refresh: Option<TokenHash>,
    expires_ts: i64,
) {
    if let Some(refresh) = refresh {
        let token = RefreshToken { device_id: device_id.to_owned(), next: None };
        work.changes.push(Change::RefreshToken(refresh, Some(token.clone())));
        work.user.refresh_tokens.insert(refresh, token);
    }
    put_access(work, device_id, access, refresh, expires_ts);
}

fn put_access(
    work: &mut Work<'_>,
    device_id: &str,
    access: TokenHash,
    refresh: Option<TokenHash>,
    expires_ts: i64,
) {
    let token = AccessToken { device_id: device_id.to_owned(), expires_ts: expires_ts.max(0), refresh };
    work.changes.push(Change::AccessToken(access, Some(token.clone())));
    work.user.access_tokens.insert(access, token);
}

/// Has whoever waits with a token that was revoked look again.
fn tell_revoked(work: &mut Work<'_>, revoked: bool) {
    if revoked {
        work.put_out(Fact::DevicesChanged(DevicesChanged::default()));
    }
}

fn hash(what: &str, bytes: &[u8]) -> Result<TokenHash, Stop> {
    TokenHash::try_from(bytes).map_err(|_| Stop::Poison(format!("{what} does not have 32 bytes")))
}

fn optional_hash(what: &str, bytes: &[u8]) -> Result<Option<TokenHash>, Stop> {
    if bytes.is_empty() { Ok(None) } else { hash(what, bytes).map(Some) }
}
