//! `plexus-admin user create`.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail, ensure};
use hmac::{Hmac, Mac as _};
use plexus_service::{Config, outln};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::reachable;

#[derive(clap::Args)]
pub(crate) struct Create {
    /// Name of the account: the part of the user ID before the colon.
    name: String,
    /// Makes it a server administrator.
    #[arg(long)]
    admin: bool,
    /// Reads the password from the first line of standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
    /// Where the client API is; default: as the configuration says.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

pub(crate) async fn create(config: &Config, create: Create) -> anyhow::Result<()> {
    let secret = &config.registration.shared_secret;
    ensure!(!secret.is_empty(), "set `shared_secret` in [registration] first, and restart the server");
    let url = match &create.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => client_api(config)?,
    };
    let password = password(create.password_stdin)?;
    let endpoint = format!("{url}/_synapse/admin/v1/register");
    let client = reqwest::Client::new();
    let nonce = client.get(&endpoint).send().await;
    let nonce = nonce.with_context(|| format!("cannot reach {url}; is the server running?"))?;
    let nonce: Nonce = answer(nonce).await?;
    let request = json!({
        "nonce": nonce.nonce,
        "username": create.name,
        "password": password,
        "admin": create.admin,
        "inhibit_login": true,
        "mac": mac(secret, &nonce.nonce, &create.name, &password, create.admin)?,
    });
    let made: Value = answer(client.post(&endpoint).json(&request).send().await?).await?;
    outln!("{}", made["user_id"].as_str().unwrap_or(&create.name));
    Ok(())
}

/// The body of a good answer; else what the server says is wrong.
async fn answer<T: serde::de::DeserializeOwned>(response: reqwest::Response) -> anyhow::Result<T> {
    let status = response.status();
    let body = response.bytes().await?;
    if status.is_success() {
        return serde_json::from_slice(&body).context("the server's answer makes no sense");
    }
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    match error["error"].as_str() {
        Some(message) => bail!("the server refuses: {message}"),
        None => bail!("the server answered {status}"),
    }
}

/// Where the configuration says that clients connect: to `standalone`, or with brokers to a client API of its own.
fn client_api(config: &Config) -> anyhow::Result<String> {
    let listener =
        if config.log.brokers.is_empty() { &config.standalone.listen } else { &config.clientapi.listen };
    ensure!(listener.tls_certificate.is_none(), "the listener speaks TLS: give `--url` of one that does not");
    Ok(format!("http://{}", reachable(listener.address)))
}

/// Asks for a password, or reads it.
pub(crate) fn password(from_stdin: bool) -> anyhow::Result<String> {
    let password = if from_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        ensure!(
            std::io::stdin().is_terminal(),
            "there is no terminal to ask for a password: use --password-stdin"
        );
        let password = rpassword::prompt_password("Password: ")?;
        ensure!(rpassword::prompt_password("Again: ")? == password, "the passwords differ");
        password
    };
    ensure!(!password.is_empty(), "the password is empty");
    Ok(password)
}

fn mac(secret: &str, nonce: &str, name: &str, password: &str, admin: bool) -> anyhow::Result<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())?;
    let role = if admin { "admin" } else { "notadmin" };
    mac.update([nonce, name, password, role].join("\0").as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_mac_is_the_one_that_the_server_expects() {
        // python3: hmac.new(b"secret", b"n\0alice\0pw\0notadmin", hashlib.sha1).hexdigest()
        let mac = super::mac("secret", "n", "alice", "pw", false).unwrap();
        assert_eq!(mac, "bed7b1c8bbb7b4e3701c0e2242bfeab2478b3713");
    }
}
