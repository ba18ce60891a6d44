use std::{collections::BTreeSet, io::Write as _};

use super::*;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/plexus.toml");

fn load(text: &str) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Config::load(file.path())
}

fn keys(prefix: &str, value: &toml::Value, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                keys(&format!("{prefix}.{key}"), value, into);
            }
        }
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_) => {
            into.insert(format!("{prefix} = {value}"));
        }
    }
}

/// The example spells out every key, commented where a key has no default, and its values are the defaults.
#[test]
fn the_example_shows_every_key_with_its_default() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let mut shown = BTreeSet::new();
    keys("", &toml::from_str(&text).unwrap(), &mut shown);
    let defaults = load("[server]\nname = \"example.org\"").unwrap();
    let mut defaults = toml::Value::try_from(defaults).unwrap();
    // Paths were made relative to the file.
    for (table, key, name) in [
        ("server", "signing_key", "signing.key"),
        ("rpc", "token_file", "rpc.token"),
        ("operator", "token_file", "operator.token"),
        ("media", "folder", "media"),
    ] {
        defaults[table][key] = toml::Value::String(name.to_owned());
    }
    let mut expected = BTreeSet::new();
    keys("", &defaults, &mut expected);
    assert_eq!(shown, expected);
    for optional in ["# tls_certificate", "# tls_key", "# tls_client_ca", "# tls_ca", "# sasl_password_file"]
    {
        assert!(text.contains(optional), "{optional} is not shown");
    }
}

#[test]
fn the_example_holds() {
    let config = Config::load(Path::new(EXAMPLE)).unwrap();
    assert!(!config.registration.open);
    assert!(config.server.signing_key.ends_with("deploy/signing.key"));
}

#[test]
fn unknown_keys_are_errors() {
    let error = load("[server]\nname = \"a\"\nnmae = \"b\"").unwrap_err();
    assert!(matches!(error, ConfigError::Invalid { .. }), "{error}");
}

#[test]
fn a_missing_file_says_where_to_start() {
    let error = Config::load(Path::new("/nowhere/plexus.toml")).unwrap_err();
    assert!(error.to_string().contains("deploy/plexus.toml"));
}

#[test]
fn tokens_are_beside_the_configuration() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[server]\nname = \"a\"\n[rpc]\ntoken = \"\"\n[operator]\ntoken_file = \"/run/op\"\n")
        .unwrap();
    let config = Config::load(file.path()).unwrap();
    assert_eq!(config.rpc.token_file, file.path().with_file_name("rpc.token"));
    assert_eq!(config.operator.token_file, Path::new("/run/op"));
}

#[test]
fn brokers_are_told_no_password_in_the_clear() {
    let log = |keys: &str| load(&format!("[server]\nname = \"a\"\n[log]\nsasl_username = \"a\"\n{keys}"));
    let refused = |keys: &str| log(keys).unwrap_err().to_string();
    assert!(refused("").contains("need `sasl_mechanism`"));
    assert!(refused("sasl_mechanism = \"PLAIN\"\nsasl_password = \"b\"").contains("`tls`"));
    assert!(refused("sasl_mechanism = \"GSSAPI\"\nsasl_password = \"b\"").contains("must be"));
    assert!(refused("sasl_mechanism = \"SCRAM-SHA-512\"").contains("sasl_password_file"));
    assert!(refused("sasl_password = \"b\"\nsasl_password_file = \"c\"").contains("not both"));
    let files = "sasl_mechanism = \"SCRAM-SHA-512\"\nsasl_password = \"b\"\ntls_ca = \"ca.pem\"";
    assert!(refused(files).contains("`tls` is not true"));
    log("sasl_mechanism = \"PLAIN\"\nsasl_password = \"b\"\ntls = true").unwrap();
    let config = log("sasl_mechanism = \"SCRAM-SHA-512\"\nsasl_password_file = \"c\"").unwrap();
    assert!(config.log.sasl_password_file.unwrap().is_absolute());
}

#[test]
fn secrets_are_not_printed_with_the_configuration() {
    let text = "[server]\nname = \"a\"\n[log]\nsasl_mechanism = \"SCRAM-SHA-512\"\nsasl_username = \"a\"\n\
                sasl_password = \"secret1\"\n[postgres]\nurl = \"postgres://a:secret2@b/c\"\n\
                [rpc]\ntoken = \"secret3-secret3-secret3\"\n[operator]\ntoken = \"secret4-secret4-secret4\"\n\
                [registration]\ntokens = [\"secret5\"]\nshared_secret = \"secret6\"\n";
    let printed = format!("{:?}", load(text).unwrap());
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn half_of_tls_is_refused() {
    let text = "[server]\nname = \"a\"\n[standalone.listen]\naddress = \"127.0.0.1:1\"\ntls_key = \"k\"\n";
    assert!(load(text).unwrap_err().to_string().contains("tls_certificate"));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let text = "[server]\nname = \"a\"\n[rate_limits]\nmessage = { per_second = 0.0, burst = 1 }\n";
    assert!(load(text).unwrap_err().to_string().contains("enabled = false"));
}

#[test]
fn names_that_no_server_can_have_are_refused() {
    for name in ["", "a b", "ex@mple.org", "a/b"] {
        assert!(load(&format!("[server]\nname = \"{name}\"")).is_err(), "{name}");
    }
    load("[server]\nname = \"[::1]:8448\"").unwrap();
}
