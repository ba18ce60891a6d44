//! Prints tables of the configuration without the secrets in them.

use std::fmt::{Debug, Formatter, Result};

use super::{CallConfig, LogConfig, PostgresConfig, RegistrationConfig};

impl Debug for CallConfig {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter.debug_struct("CallConfig").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl Debug for LogConfig {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter
            .debug_struct("LogConfig")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("tls", &self.tls)
            .field("sasl_mechanism", &self.sasl_mechanism)
            .finish_non_exhaustive()
    }
}

// A URL may have a password in it.
impl Debug for PostgresConfig {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter
            .debug_struct("PostgresConfig")
            .field("max_connections", &self.max_connections)
            .field("login_connections", &self.login_connections)
            .field("search_connections", &self.search_connections)
            .finish_non_exhaustive()
    }
}

impl Debug for RegistrationConfig {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        formatter
            .debug_struct("RegistrationConfig")
            .field("open", &self.open)
            .field("guests", &self.guests)
            .finish_non_exhaustive()
    }
}
