//! TLS to the brokers, and SASL.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use plexus_service::config::{LogConfig, NoBrokers};
use rdkafka::config::ClientConfig;

/// How connections to the brokers are secured; by default not at all.
#[derive(Clone, Default)]
pub struct Security {
    /// Whether connections speak TLS.
    pub tls: bool,
    /// Authorities by which brokers are verified, PEM; those of the system if it is unset.
    pub tls_ca: Option<PathBuf>,
    /// Certificate chain of this service and its key, PEM.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Credentials of this service, for brokers that want them.
    pub sasl: Option<Sasl>,
}

/// A mechanism with a name and a password.
#[derive(Clone)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// Name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// A fault in `[log]` that the configuration alone does not show.
#[derive(Debug, thiserror::Error)]
pub enum KafkaConfigError {
    /// There are no brokers.
    #[error(transparent)]
    NoBrokers(#[from] NoBrokers),
    /// A file that a key names cannot be read.
    #[error("`{key}` in [log] names {}, which cannot be read", path.display())]
    Unreadable {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file of the password is empty.
    #[error("`sasl_password_file` in [log] names {}, whose first line is empty", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
}

impl Security {
    /// Reads what the configuration says. Files are opened here, as librdkafka would not name the key of a missing one.
    pub(super) fn new(config: &LogConfig) -> Result<Self, KafkaConfigError> {
        let files = [
            ("tls_ca", &config.tls_ca),
            ("tls_certificate", &config.tls_certificate),
            ("tls_key", &config.tls_key),
        ];
        for (key, path) in files {
            if let Some(path) = path {
                read(key, path)?;
            }
        }
        let sasl = (!config.sasl_mechanism.is_empty()).then(|| {
            let (mechanism, username) = (config.sasl_mechanism.clone(), config.sasl_username.clone());
            Ok::<_, KafkaConfigError>(Sasl { mechanism, username, password: password(config)? })
        });
        Ok(Self {
            tls: config.tls,
            tls_ca: config.tls_ca.clone(),
            tls_identity: config.tls_certificate.clone().zip(config.tls_key.clone()),
            sasl: sasl.transpose()?,
        })
    }

    pub(super) fn apply(&self, client: &mut ClientConfig) {
        let protocol = match (self.tls, self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if self.tls {
            client.set("ssl.endpoint.identification.algorithm", "https");
            if let Some(authorities) = &self.tls_ca {
                client.set("ssl.ca.location", text(authorities));
            }
            if let Some((certificate, key)) = &self.tls_identity {
                client.set("ssl.certificate.location", text(certificate)).set("ssl.key.location", text(key));
            }
        }
        if let Some(sasl) = &self.sasl {
            client
                .set("sasl.mechanism", &sasl.mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password);
        }
    }
}

/// Returns the password of the configuration, or the first line of its file.
fn password(config: &LogConfig) -> Result<String, KafkaConfigError> {
    let Some(path) = &config.sasl_password_file else { return Ok(config.sasl_password.clone()) };
    let text = read("sasl_password_file", path)?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(KafkaConfigError::NoPassword { path: path.clone() });
    }
    Ok(line.to_owned())
}

fn read(key: &'static str, path: &Path) -> Result<String, KafkaConfigError> {
    fs::read_to_string(path).map_err(|source| KafkaConfigError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    })
}

/// Returns a path as librdkafka takes it. One that is no UTF-8 is not found there, and named in the error.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl std::fmt::Debug for Security {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mechanism = self.sasl.as_ref().map(|sasl| &sasl.mechanism);
        formatter
            .debug_struct("Security")
            .field("tls", &self.tls)
            .field("sasl", &mechanism)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_with_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let config = LogConfig {
            sasl_mechanism: "PLAIN".to_owned(),
            sasl_username: "plexus".to_owned(),
            sasl_password_file: Some(path.clone()),
            ..LogConfig::default()
        };
        let told = Security::new(&config).unwrap_err().to_string();
        assert!(told.contains("`sasl_password_file`") && told.contains("/password"), "{told}");
        fs::write(&path, "\n").unwrap();
        let told = Security::new(&config).unwrap_err().to_string();
        assert!(told.contains("empty"), "{told}");
        fs::write(&path, "correct-horse\n").unwrap();
        let security = Security::new(&config).unwrap();
        assert!(!format!("{security:?}").contains("horse"));
        assert_eq!(security.sasl.unwrap().password, "correct-horse");
        let config =
            LogConfig { tls: true, tls_ca: Some(folder.path().join("ca.pem")), ..LogConfig::default() };
        let told = Security::new(&config).unwrap_err().to_string();
        assert!(told.contains("`tls_ca`"), "{told}");
    }
}
