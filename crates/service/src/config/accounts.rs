//! Registration, passwords, tokens and sessions.

use serde::{Deserialize, Serialize};

/// Who may register, and how.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationConfig {
    /// Whether anybody may register (`m.login.dummy`).
    pub open: bool,
    /// Whether guests may register.
    pub guests: bool,
    /// Tokens with which one may register (`m.login.registration_token`).
    pub tokens: Vec<String>,
    /// Secret for `/_synapse/admin/v1/register` and `plexus-admin user create`; empty turns them off.
    pub shared_secret: String,
}

/// Passwords, tokens and sessions.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Memory that hashing a password takes, in KiB (argon2id).
    pub argon2_memory_kib: u32,
    /// Passes over that memory.
    pub argon2_iterations: u32,
    /// How long an access token lives if the client can refresh it, in seconds.
    pub refreshable_token_lifetime_s: u64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { argon2_memory_kib: 19_456, argon2_iterations: 2, refreshable_token_lifetime_s: 300 }
    }
}
