//! Tokens by which others learn who a user of this server is: the user, when the token ends, and a signature. Nothing is
//! kept of them, so any instance can read them; a new signing key ends them all.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plexus_events::{SigningKey, verify};
use plexus_proto::federation::v1::{
    MakeTokenRequest, MakeTokenResponse, open_id_service_server::OpenIdService,
};
use plexus_s2s::now_ms;
use ruma::{OwnedUserId, UserId};
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{Federation, outbound::invalid};

/// Seconds for which a token is good.
const GOOD_FOR: u32 = 3600;
/// How tokens begin, and what is signed, which is thus nothing else that the key signs.
const PREFIX: &str = "oid1";
/// Longest token: a user ID has 255 bytes.
const MAX_TOKEN: usize = 1024;

/// Makes a token.
pub(crate) fn make(key: &SigningKey, user_id: &UserId, now: i64) -> String {
    let until = now.saturating_add(i64::from(GOOD_FOR) * 1000);
    let (nonce, user) = (rand::random::<u64>(), URL_SAFE_NO_PAD.encode(user_id.as_str()));
    let claim = format!("{PREFIX}.{until}.{nonce:x}.{user}");
    let signature = key.sign(claim.as_bytes()).replace('+', "-").replace('/', "_");
    format!("{claim}.{signature}")
}

/// Reads a token: whose it is, if it is good.
pub(crate) fn read(key: &SigningKey, token: &str, now: i64) -> Option<OwnedUserId> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (claim, signature) = token.rsplit_once('.')?;
    let signature = signature.replace('-', "+").replace('_', "/");
    if !verify::is_signed(claim.as_bytes(), &signature, &key.public_key()) {
        return None;
    }
    let mut parts = claim.split('.');
    let (prefix, until) = (parts.next()?, parts.next()?.parse::<i64>().ok()?);
    let _nonce = parts.next()?;
    let user = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
    if prefix != PREFIX || until <= now || parts.next().is_some() {
        return None;
    }
    user.try_into().ok()
}

/// `OpenIdService`.
pub(crate) struct Service {
    pub(crate) federation: Federation,
}

#[tonic::async_trait]
impl OpenIdService for Service {
    #[instrument(name = "rpc.openid.make_token", skip_all)]
    async fn make_token(
        &self,
        request: Request<MakeTokenRequest>,
    ) -> Result<Response<MakeTokenResponse>, Status> {
        let user_id = request.into_inner().user_id;
        let user_id = OwnedUserId::try_from(user_id).map_err(|error| invalid("user_id", error))?;
        if user_id.server_name() != self.federation.name() {
            return Err(invalid("user_id", "is not a user of this server"));
        }
        let token = make(&self.federation.key, &user_id, now_ms());
        Ok(Response::new(MakeTokenResponse { token, expires_in: GOOD_FOR }))
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn tokens_are_good_for_an_hour_and_for_nobody_else() {
        let key = SigningKey::from_seed("a", &[7; 32]).unwrap();
        let alice = user_id!("@alice:us.test");
        let token = make(&key, alice, 1_000);
        assert_eq!(read(&key, &token, 1_000).as_deref(), Some(alice));
        assert_eq!(read(&key, &token, 3_601_000), None);
        let other = SigningKey::from_seed("a", &[8; 32]).unwrap();
        assert_eq!(read(&other, &token, 1_000), None);
        let mallory = URL_SAFE_NO_PAD.encode("@mallory:us.test");
        let forged = token.replace(&URL_SAFE_NO_PAD.encode(alice.as_str()), &mallory);
        for token in
            [forged.as_str(), "", "oid1", "oid1.9.9.9", &token[..token.len() - 2], &format!("{token}x")]
        {
            assert_eq!(read(&key, token, 1_000), None, "{token}");
        }
    }
}
