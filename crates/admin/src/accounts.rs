//! `plexus-admin user list|show|sessions|reset-password|deactivate`: accounts, through the operator listener.

use anyhow::{Context as _, bail, ensure};
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::SaltString};
use plexus_proto::operator::v1::{
    AdminUser, DeactivateUserRequest, GetUserRequest, ListSessionsRequest, ListUsersRequest,
    ResetPasswordRequest, user_admin_service_client::UserAdminServiceClient,
};
use plexus_service::{Config, RpcChannel, Token, config::AuthConfig, outln};

use crate::{moment, user};

/// Accounts asked for at once.
const PAGE: u32 = 500;
/// Characters of a password that is made here.
const GENERATED: usize = 24;

#[derive(clap::Args)]
pub(crate) struct ResetPassword {
    /// User ID, or its name alone.
    user: String,
    /// Reads the password from the first line of standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    /// Leaves the sessions of the account as they are.
    #[arg(long)]
    keep_sessions: bool,
}

#[derive(clap::Args)]
pub(crate) struct Deactivate {
    /// User ID, or its name alone.
    user: String,
    /// Erases the user, too: nobody who joins later reads what they wrote.
    #[arg(long)]
    erase: bool,
    /// It cannot be undone: says that it is meant.
    #[arg(long)]
    yes: bool,
}

/// The user ID of somebody on this server, who may be given by name alone.
pub(crate) fn user_id(config: &Config, user: String) -> String {
    if user.starts_with('@') { user } else { format!("@{user}:{}", config.server.name) }
}

/// Prints all accounts.
pub(crate) async fn list(channel: RpcChannel) -> anyhow::Result<()> {
    let mut client = UserAdminServiceClient::new(channel);
    let mut after = String::new();
    loop {
        let page = client.list_users(ListUsersRequest { after, limit: PAGE }).await.context("no accounts")?;
        let page = page.into_inner();
        for user in &page.users {
            outln!("{}", line(user));
        }
        let Some(last) = page.users.into_iter().next_back().filter(|_| page.more) else { return Ok(()) };
        after = last.user_id;
    }
}

fn line(user: &AdminUser) -> String {
    let marks = [
        (user.admin, " admin"),
        (user.guest, " guest"),
        (user.deactivated, " deactivated"),
        (user.erased, " erased"),
    ];
    let marks: String = marks.into_iter().filter(|(holds, _)| *holds).map(|(_, mark)| mark).collect();
    format!("{} since {}{marks}", user.user_id, moment(user.created_ts))
}

/// Prints an account and its rooms.
pub(crate) async fn show(channel: RpcChannel, config: &Config, user: String) -> anyhow::Result<()> {
    let request = GetUserRequest { user_id: user_id(config, user) };
    let found =
        UserAdminServiceClient::new(channel).get_user(request).await.context("no account")?.into_inner();
    outln!("{}", line(&found.user.context("the answer has no account")?));
    outln!("password: {}", if found.has_password { "yes" } else { "no" });
    outln!("sessions: {}", found.sessions);
    for room in found.rooms {
        outln!("{:<6} {}", room.membership, room.room_id);
    }
    Ok(())
}

/// Prints the sessions of an account.
pub(crate) async fn sessions(channel: RpcChannel, config: &Config, user: String) -> anyhow::Result<()> {
    let request = ListSessionsRequest { user_id: user_id(config, user) };
    let answer = UserAdminServiceClient::new(channel).list_sessions(request).await.context("no sessions")?;
    for session in answer.into_inner().sessions {
        outln!("{} {:?} since {}", session.device_id, session.display_name, moment(session.created_ts));
    }
    Ok(())
}

/// Gives an account a new password; prints it if it was made here.
///
/// It is hashed here, at the cost that the configuration says: the password itself goes nowhere.
pub(crate) async fn reset(channel: RpcChannel, config: &Config, reset: ResetPassword) -> anyhow::Result<()> {
    let user_id = user_id(config, reset.user);
    let (password, generated) = if reset.password_stdin {
        (user::password(true)?, false)
    } else {
        (Token::random().as_str().chars().take(GENERATED).collect(), true)
    };
    let request = ResetPasswordRequest {
        user_id: user_id.clone(),
        password_hash: hash(&config.auth, &password)?,
        keep_sessions: reset.keep_sessions,
    };
    UserAdminServiceClient::new(channel)
        .reset_password(request)
        .await
        .context("the password is as it was")?;
    if generated {
        outln!("the password of {user_id} is {password}");
    } else {
        outln!("{user_id} has the new password");
    }
    Ok(())
}

fn hash(config: &AuthConfig, password: &str) -> anyhow::Result<String> {
    ensure!(password.len() <= 512, "the password is too long");
    let params = Params::new(config.argon2_memory_kib, config.argon2_iterations, 1, None)
        .map_err(|error| anyhow::anyhow!("[auth] does not work: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let failed = |error| anyhow::anyhow!("cannot hash the password: {error}");
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(failed)?;
    Ok(argon2.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Deactivates an account.
pub(crate) async fn deactivate(
    channel: RpcChannel,
    config: &Config,
    deactivate: Deactivate,
) -> anyhow::Result<()> {
    let user_id = user_id(config, deactivate.user);
    if !deactivate.yes {
        bail!("{user_id} would be deactivated for good: say --yes if that is meant");
    }
    let request = DeactivateUserRequest { user_id: user_id.clone(), erase: deactivate.erase };
    let answer = UserAdminServiceClient::new(channel).deactivate_user(request).await;
    let left = answer.context("the account is not deactivated, or not in all that belongs to it")?;
    outln!("{user_id} is deactivated, and has left {} rooms", left.into_inner().left);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hashed_at_the_cost_of_the_configuration() {
        let config = AuthConfig { argon2_memory_kib: 64, argon2_iterations: 1, ..AuthConfig::default() };
        let hash = hash(&config, "correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    }
}
