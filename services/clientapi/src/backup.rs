//! [Backups of room keys](https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups)

pub(crate) mod add_backup_keys;
pub(crate) mod create_backup_version;
pub(crate) mod delete_backup_keys;
pub(crate) mod delete_backup_version;
pub(crate) mod get_backup_info;
pub(crate) mod get_backup_keys;
pub(crate) mod update_backup_version;

use plexus_matrix_http::{JsonObject, MatrixError};
use plexus_proto::{
    input::v1::Accepted,
    log::v1::BackupState,
    user::v1::{GetBackupVersionRequest, GetBackupVersionResponse},
};
use prost::Message as _;
use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::App;

/// Most bytes of the name of an algorithm.
const MAX_ALGORITHM: usize = 255;
/// Most bytes of the data that belong to an algorithm.
const MAX_AUTH_DATA: usize = 64 * 1024;
/// Most digits of a version.
const VERSION_DIGITS: usize = 18;

/// The version that keys belong to.
#[derive(Deserialize)]
pub(crate) struct VersionQuery {
    version: Option<String>,
}

impl VersionQuery {
    /// Reads it.
    fn read(self) -> Result<u64, MatrixError> {
        let version = self.version.ok_or_else(|| MatrixError::missing_param("`version` is missing"))?;
        read_version(&version)
    }
}

/// Reads a version. What no server of ours gave out is unknown, whatever it is.
fn read_version(version: &str) -> Result<u64, MatrixError> {
    let is_number = !version.starts_with('0') && version.bytes().all(|byte| byte.is_ascii_digit());
    let number = (is_number && version.len() <= VERSION_DIGITS).then(|| version.parse().ok());
    number.flatten().ok_or_else(unknown_version)
}

fn unknown_version() -> MatrixError {
    MatrixError::not_found("There is no such version of the backup")
}

/// The body that tells of an algorithm.
#[derive(Deserialize)]
pub(crate) struct AlgorithmBody {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

impl AlgorithmBody {
    fn check(&self) -> Result<(), MatrixError> {
        if !self.auth_data.get().starts_with('{') {
            return Err(MatrixError::bad_json("`auth_data` must be a JSON object"));
        }
        if self.algorithm.len() > MAX_ALGORITHM || self.algorithm.contains('\0') {
            return Err(MatrixError::invalid_param("`algorithm` is no name of an algorithm"));
        }
        if self.auth_data.get().len() > MAX_AUTH_DATA {
            return Err(MatrixError::too_large(format!(
                "`auth_data` may have {MAX_AUTH_DATA} bytes at most"
            )));
        }
        Ok(())
    }

    fn into_auth_data(self) -> Vec<u8> {
        String::from(Box::<str>::from(self.auth_data)).into_bytes()
    }
}

/// Reads a version; 0 stands for the current one.
async fn find(app: &App, user: &UserId, version: u64) -> Result<GetBackupVersionResponse, MatrixError> {
    let request = GetBackupVersionRequest { user_id: user.to_string(), version };
    Ok(app.backups.clone().get_backup_version(request).await?.into_inner())
}

/// What a change of keys answers.
#[derive(Serialize)]
struct Contents {
    count: u64,
    etag: String,
}

/// Reads what a command on a backup answered.
fn state_of(accepted: &Accepted) -> Result<BackupState, MatrixError> {
    BackupState::decode(accepted.payload.clone()).map_err(|error| {
        tracing::error!(%error, "a verdict on a backup cannot be read");
        MatrixError::internal()
    })
}

/// Answers with what a change of keys came to.
fn contents(state: BackupState) -> Result<JsonObject, MatrixError> {
    JsonObject::of(&Contents { count: state.count, etag: state.etag.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_decimal_and_all_others_unknown() {
        assert_eq!(read_version("1").unwrap(), 1);
        assert_eq!(read_version("999999999999999999").unwrap(), 999_999_999_999_999_999);
        for version in ["", "0", "01", "-1", "+1", "1.0", "1 ", "x", "9223372036854775808", "\u{661}"] {
            assert!(read_version(version).unwrap_err().is("M_NOT_FOUND"), "{version}");
        }
        assert!(VersionQuery { version: None }.read().unwrap_err().is("M_MISSING_PARAM"));
    }
}
