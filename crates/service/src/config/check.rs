//! Checks the configuration beyond the types of its keys.

use super::{Config, Listener, LogConfig, RateLimit};

/// Says what is wrong, and what to do about it.
pub(super) fn check(config: &Config) -> Result<(), String> {
    server_name(&config.server.name)?;
    for (key, listener) in listeners(config) {
        if listener.tls_certificate.is_some() != listener.tls_key.is_some() {
            return Err(format!("`{key}` needs both `tls_certificate` and `tls_key`, or neither"));
        }
        if listener.tls_client_ca.is_some() && listener.tls_certificate.is_none() {
            return Err(format!("`tls_client_ca` of `{key}` needs `tls_certificate` and `tls_key`"));
        }
        if listener.max_connections == 0 {
            return Err(format!("`max_connections` of `{key}` must be at least 1"));
        }
    }
    for (key, call) in [("rpc", &config.rpc), ("operator", &config.operator)] {
        if call.tls_certificate.is_some() != call.tls_key.is_some() {
            return Err(format!("[{key}] needs both `tls_certificate` and `tls_key`, or neither"));
        }
        if call.tls_certificate.is_some() && call.tls_ca.is_none() {
            return Err(format!("`tls_certificate` in [{key}] needs `tls_ca`"));
        }
    }
    log(&config.log)?;
    if config.postgres.max_connections == 0 {
        return Err("`max_connections` in [postgres] must be at least 1".to_owned());
    }
    config.retention.check()?;
    super::federation::check(&config.federation)?;
    config.media.check()?;
    if config.clientapi.max_body_bytes < 128 * 1024 {
        return Err(
            "`max_body_bytes` in [clientapi] must be at least 131072, or legal events do not fit".to_owned()
        );
    }
    http(config)?;
    rate_limits(config)
}

fn http(config: &Config) -> Result<(), String> {
    let http = &config.http;
    let all = [
        ("connections_per_address", http.connections_per_address),
        ("requests_per_address", http.requests_per_address),
        (
            "new_connections_per_second",
            usize::try_from(http.new_connections_per_second).unwrap_or(usize::MAX),
        ),
        ("streams_per_connection", usize::try_from(http.streams_per_connection).unwrap_or(usize::MAX)),
        ("first_byte_timeout_s", seconds(http.first_byte_timeout_s)),
        ("head_timeout_s", seconds(http.head_timeout_s)),
        ("body_timeout_s", seconds(http.body_timeout_s)),
        ("write_timeout_s", seconds(http.write_timeout_s)),
        ("idle_timeout_s", seconds(http.idle_timeout_s)),
        ("answer_bytes", http.answer_bytes),
        ("answer_bytes_per_user", http.answer_bytes_per_user),
        ("expensive_reads_per_user", http.expensive_reads_per_user),
    ];
    if let Some((key, _)) = all.iter().find(|(_, value)| *value == 0) {
        return Err(format!("`{key}` in [http] must be at least 1, and seconds at most a year"));
    }
    let body = config.clientapi.max_body_bytes;
    let bodies = [
        ("body_bytes", http.body_bytes),
        ("body_bytes_per_address", http.body_bytes_per_address),
        ("body_bytes_per_user", http.body_bytes_per_user),
    ];
    if let Some((key, _)) = bodies.iter().find(|(_, value)| *value < body) {
        return Err(format!("`{key}` in [http] must be at least `max_body_bytes` in [clientapi], {body}"));
    }
    Ok(())
}

/// More than a year is no bound, and more than a timer can wait.
fn seconds(value: u64) -> usize {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    if value > YEAR { 0 } else { usize::try_from(value).unwrap_or(usize::MAX) }
}

fn log(config: &LogConfig) -> Result<(), String> {
    if config.tls_certificate.is_some() != config.tls_key.is_some() {
        return Err("[log] needs both `tls_certificate` and `tls_key`, or neither".to_owned());
    }
    let files = [&config.tls_ca, &config.tls_certificate];
    if !config.tls && files.into_iter().any(Option::is_some) {
        return Err("[log] names files for TLS, but `tls` is not true".to_owned());
    }
    let has_password = match (config.sasl_password.is_empty(), &config.sasl_password_file) {
        (false, Some(_)) => {
            return Err("[log] needs `sasl_password` or `sasl_password_file`, not both".to_owned());
        }
        (empty, file) => !empty || file.is_some(),
    };
    match config.sasl_mechanism.as_str() {
        "" if config.sasl_username.is_empty() && !has_password => Ok(()),
        "" => Err("`sasl_username` and `sasl_password` in [log] need `sasl_mechanism`".to_owned()),
        "PLAIN" if !config.tls => {
            Err("PLAIN shows the password to whoever listens: set `tls` in [log], or use SCRAM-SHA-512"
                .to_owned())
        }
        "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" if config.sasl_username.is_empty() || !has_password => {
            Err("`sasl_mechanism` in [log] needs `sasl_username`, and `sasl_password` or `sasl_password_file`"
                .to_owned())
        }
        "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" => Ok(()),
        _ => Err("`sasl_mechanism` in [log] must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512".to_owned()),
    }
}

fn rate_limits(config: &Config) -> Result<(), String> {
    let limits = &config.rate_limits;
    let all: [(&str, &RateLimit); 15] = [
        ("message", &limits.message),
        ("registration", &limits.registration),
        ("login", &limits.login),
        ("failed_login", &limits.failed_login),
        ("join", &limits.join),
        ("invite", &limits.invite),
        ("room_creation", &limits.room_creation),
        ("to_device", &limits.to_device),
        ("claim", &limits.claim),
        ("other", &limits.other),
        ("failed_login_account", &limits.failed_login_account),
        ("invitee", &limits.invitee),
        ("written", &limits.written),
        ("read", &limits.read),
        ("open_read", &limits.open_read),
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

fn listeners(config: &Config) -> [(&'static str, &Listener); 14] {
    [
        ("roomserver.listen", &config.roomserver.listen),
        ("roomserver.operator_listen", &config.roomserver.operator_listen),
        ("roomserver.admin_http", &config.roomserver.admin_http),
        ("clientapi.listen", &config.clientapi.listen),
        ("clientapi.admin_http", &config.clientapi.admin_http),
        ("sync.listen", &config.sync.listen),
        ("sync.admin_http", &config.sync.admin_http),
        ("federation.listen", &config.federation.listen),
        ("federation.admin_http", &config.federation.admin_http),
        ("media.listen", &config.media.listen),
        ("media.rpc_listen", &config.media.rpc_listen),
        ("media.admin_http", &config.media.admin_http),
        ("standalone.listen", &config.standalone.listen),
        ("standalone.admin_http", &config.standalone.admin_http),
    ]
}
