//! Configures how long the room server keeps records, verdicts and snapshots.

use serde::{Deserialize, Serialize};

/// How long the room server keeps what is needed for a while only. Events, receipts and account data are not among it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How long a published record of an output log stays in the database, in seconds: so long a follower can fill a
    /// hole record by record; after that it loads what it shows anew.
    pub output_log_s: u64,
    /// How long records stay that a registered reader has not passed, in seconds. A reader that lags more begins anew.
    pub lagging_reader_s: u64,
    /// How long verdicts on inputs stay, in seconds: so long a repeat of an input is answered like the first.
    pub verdicts_s: u64,
    /// How long dead letters and alarms about states stay, in seconds.
    pub dead_letters_s: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self { output_log_s: 600, lagging_reader_s: 7 * DAY, verdicts_s: DAY, dead_letters_s: 30 * DAY }
    }
}

impl RetentionConfig {
    /// Says what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.lagging_reader_s < self.output_log_s {
            return Err("`lagging_reader_s` in [retention] must be at least `output_log_s`".to_owned());
        }
        Ok(())
    }
}
