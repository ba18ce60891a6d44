//! Configures the clients of the brokers.

use rdkafka::{
    ClientContext,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::KafkaConfig;

/// Settings for every client.
pub(super) fn base(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "plexus")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        // A broker that comes back is used within a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        // Topics that are deleted and made again are found within seconds.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config.security.apply(&mut client);
    client
}

/// Settings for every consumer. Positions are ours to keep, never the group's.
pub(super) fn consumer(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", format!("{}{group}", config.topic_prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    client
}

/// Sends librdkafka's words to `tracing`.
pub(super) struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        failed(&error, reason);
    }
}

impl ConsumerContext for Context {}

/// Tells a failure of a client. Whatever fails for it says it again, and a broker that is away is said by [`log`]; but one
/// that refuses us looks like one that is away, and only this tells what to do.
pub(super) fn failed(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
            tracing::warn!(
                reason,
                "the brokers refuse our name or password: check `sasl_mechanism`, `sasl_username` and its password in [log]"
            );
        }
        Some(RDKafkaErrorCode::SSL) => {
            tracing::warn!(
                reason,
                "no TLS with the brokers: check `tls`, `tls_ca`, `tls_certificate` and `tls_key` in [log]"
            );
        }
        _ => tracing::debug!(error = %error, reason, "client of the brokers failed"),
    }
}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "from the brokers' client"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, message, "from the brokers' client");
        }
    }
}
