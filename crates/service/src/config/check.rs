//! What the types of the keys do not say.

use super::{Config, Listener, RateLimit};

/// Says what is wrong, and what to do about it.
pub(super) fn check(config: &Config) -> Result<(), String> {
    server_name(&config.server.name)?;
    for (key, listener) in listeners(config) {
        if listener.tls_certificate.is_some() != listener.tls_key.is_some() {
            return Err(format!("`{key}` needs both `tls_certificate` and `tls_key`, or neither"));
        }
        if listener.max_connections == 0 {
            return Err(format!("`max_connections` of `{key}` must be at least 1"));
        }
    }
    if config.postgres.max_connections == 0 {
        return Err("`max_connections` in [postgres] must be at least 1".to_owned());
    }
    config.retention.check()?;
    if config.clientapi.max_body_bytes < 128 * 1024 {
        return Err(
            "`max_body_bytes` in [clientapi] must be at least 131072, or legal events do not fit".to_owned()
        );
    }
    rate_limits(config)
}

fn rate_limits(config: &Config) -> Result<(), String> {
    let limits = &config.rate_limits;
    let all: [(&str, &RateLimit); 8] = [
        ("message", &limits.message),
        ("registration", &limits.registration),
        ("login", &limits.login),
        ("failed_login", &limits.failed_login),
        ("join", &limits.join),
        ("invite", &limits.invite),
        ("room_creation", &limits.room_creation),
        ("other", &limits.other),
    ];
    for (key, limit) in all {
        if !limit.per_second.is_finite() || limit.per_second <= 0.0 || limit.burst == 0 {
            return Err(format!(
                "`{key}` in [rate_limits] needs `per_second` and `burst` greater than 0; `enabled = false` turns all \
                 limits off"
            ));
        }
    }
    Ok(())
}

/// The grammar of server names, as far as mistakes go; the parts that know Matrix parse it in full.
fn server_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("`name` in [server] is empty; it is the part after the colon in user IDs".to_owned());
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || ".-:[]".contains(character);
    if name.len() > 230 || !name.chars().all(plain) {
        return Err(format!("`name` in [server] is not a host name with an optional port: {name}"));
    }
    Ok(())
}

fn listeners(config: &Config) -> [(&'static str, &Listener); 9] {
    [
        ("roomserver.listen", &config.roomserver.listen),
        ("roomserver.operator_listen", &config.roomserver.operator_listen),
        ("roomserver.admin_http", &config.roomserver.admin_http),
        ("clientapi.listen", &config.clientapi.listen),
        ("clientapi.admin_http", &config.clientapi.admin_http),
        ("sync.listen", &config.sync.listen),
        ("sync.admin_http", &config.sync.admin_http),
        ("standalone.listen", &config.standalone.listen),
        ("standalone.admin_http", &config.standalone.admin_http),
    ]
}
