//! Hashing and verifying passwords: argon2id, on blocking threads, a few at a time.

use std::{num::NonZero, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::SaltString,
};
use plexus_matrix_http::MatrixError;
use plexus_service::config::AuthConfig;
use tokio::sync::Semaphore;

/// Longest password, in bytes: hashing is not for free.
const MAX_PASSWORD: usize = 512;

/// Why passwords cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The parameters do not work.
    #[error("argon2 refuses its parameters")]
    Params(#[source] argon2::Error),
    /// Hashing failed.
    #[error("argon2 failed")]
    Hash(#[source] argon2::password_hash::Error),
}

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// A hash of nothing, verified against where there is no account: so that it takes the same time.
    decoy: Arc<str>,
    /// Each hash takes memory.
    permits: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, PasswordError> {
        let params = Params::new(config.argon2_memory_kib, config.argon2_iterations, 1, None)
            .map_err(PasswordError::Params)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, "")?.into();
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self { argon2, decoy, permits: Arc::new(Semaphore::new(at_once)) })
    }

    /// Returns the hash of a new password, in PHC format.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, MatrixError> {
        if password.is_empty() {
            return Err(MatrixError::invalid_param("The password must not be empty"));
        }
        if password.len() > MAX_PASSWORD {
            return Err(MatrixError::invalid_param("The password is too long"));
        }
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        self.run(move || hash(&argon2, &password)).await?.map_err(|error| {
            tracing::error!(%error, "password could not be hashed");
            MatrixError::internal()
        })
    }

    /// Returns whether the password is the one hashed. Takes as long if there is no hash, and is then false.
    pub(crate) async fn verify(&self, password: &str, phc: Option<&str>) -> Result<bool, MatrixError> {
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let exists = phc.is_some();
        let phc = phc.map_or_else(|| self.decoy.to_string(), str::to_owned);
        let matches = self
            .run(move || match PasswordHash::new(&phc) {
                // The parameters are those of the hash, not of today's configuration.
                Ok(parsed) => argon2.verify_password(password.as_bytes(), &parsed).is_ok(),
                Err(error) => {
                    tracing::error!(%error, "stored password hash is malformed");
                    false
                }
            })
            .await?;
        Ok(matches && exists)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, MatrixError> {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(MatrixError::unavailable());
        };
        let task = tokio::task::spawn_blocking(move || {
            // Held while the work runs, also if whoever asked has gone.
            let _permit = permit;
            work()
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "password thread failed");
            MatrixError::internal()
        })
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, PasswordError> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(PasswordError::Hash)?;
    let hash = argon2.hash_password(password.as_bytes(), &salt).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let config = AuthConfig { argon2_memory_kib: 64, argon2_iterations: 1, ..AuthConfig::default() };
        let passwords = Passwords::new(&config).unwrap();
        let phc = passwords.hash("secret").await.unwrap();
        assert!(phc.starts_with("$argon2id$"));
        assert!(passwords.verify("secret", Some(&phc)).await.unwrap());
        assert!(!passwords.verify("Secret", Some(&phc)).await.unwrap());
        assert!(!passwords.verify("secret", Some("garbage")).await.unwrap());
        assert!(!passwords.verify("", None).await.unwrap());
        assert!(!passwords.verify(&"x".repeat(MAX_PASSWORD + 1), Some(&phc)).await.unwrap());
        passwords.hash("").await.unwrap_err();
    }
}
