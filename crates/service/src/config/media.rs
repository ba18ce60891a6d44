//! `[media]`: where the bytes of media are, and how much of them there may be.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Listener, RateLimit};

/// Media.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// Folder with the bytes; with a bucket, for what has to be read at random. `media` by default.
    pub folder: PathBuf,
    /// A bucket for the bytes.
    pub s3: MediaS3Config,
    /// Largest upload in bytes.
    pub max_upload_bytes: u64,
    /// Uploads of one user at a time.
    pub uploads_per_user: usize,
    /// Media IDs that one user may have reserved and not used.
    pub max_pending: u32,
    /// How long they stay reserved, in seconds.
    pub pending_lifetime_s: u64,
    /// Most bytes of all media of one user; 0 for no limit.
    pub bytes_per_user: u64,
    /// Most bytes that one user uploads in a day; 0 for no limit.
    pub bytes_per_user_and_day: u64,
    /// Most media of one user; 0 for no limit.
    pub files_per_user: u64,
    /// Page that explains these limits to users who have reached one; empty: none.
    pub quota_info_url: String,
    /// Media that was uploaded before this time is served at the old endpoints, which ask for no token, in milliseconds since
    /// the Unix epoch; 0: none.
    pub unauthenticated_before_ts: i64,
    /// Most pixels of an image of which thumbnails are made.
    pub max_image_pixels: u64,
    /// Thumbnails that are made at a time; 0 for half as many as there are processors.
    pub thumbnails_at_once: usize,
    /// Largest media of another server in bytes.
    pub max_remote_bytes: u64,
    /// Most bytes that are kept of other servers.
    pub cache_bytes: u64,
    /// Most bytes that are kept of one other server.
    pub cache_bytes_per_server: u64,
    /// Whether pages are fetched to show users what links lead to.
    pub url_previews: bool,
    /// URL previews of one user.
    pub preview_rate: RateLimit,
    /// Where it listens when it is a process of its own.
    pub listen: Listener,
    /// gRPC: what the federation service reads. `standalone` does not open it.
    pub rpc_listen: Listener,
    /// Processes of the media service, `http://host:port`, for those who call them: `federation`.
    pub endpoints: Vec<String>,
    /// Health and metrics.
    pub admin_http: Listener,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("media"),
            s3: MediaS3Config::default(),
            max_upload_bytes: 50 << 20,
            uploads_per_user: 10,
            max_pending: 5,
            pending_lifetime_s: 86_400,
            bytes_per_user: 0,
            bytes_per_user_and_day: 0,
            files_per_user: 0,
            quota_info_url: String::new(),
            unauthenticated_before_ts: 0,
            max_image_pixels: 32_000_000,
            thumbnails_at_once: 0,
            max_remote_bytes: 100 << 20,
            cache_bytes: 10 << 30,
            cache_bytes_per_server: 2 << 30,
            url_previews: false,
            preview_rate: RateLimit::new(0.2, 10),
            listen: Listener::plain("127.0.0.1:8740"),
            rpc_listen: Listener::plain("127.0.0.1:8741"),
            endpoints: vec!["http://127.0.0.1:8741".to_owned()],
            admin_http: Listener::plain("127.0.0.1:8742"),
        }
    }
}

/// A bucket of S3.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaS3Config {
    /// The bucket; empty: bytes are in the folder.
    pub bucket: String,
    /// Region.
    pub region: String,
    /// URL of the service; empty for that of AWS.
    pub endpoint: String,
    /// Key.
    pub access_key_id: String,
    /// Its secret; empty: it is in the file.
    pub secret_access_key: String,
    /// File whose first line is the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// Whether the bucket is part of the host name, and not of the path.
    pub virtual_hosted: bool,
    /// Authorities that are believed beside those of the system, PEM.
    pub ca_files: Vec<PathBuf>,
}

impl fmt::Debug for MediaS3Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MediaS3Config").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Makes relative paths relative to the folder of the configuration.
pub(super) fn resolve_paths(media: &mut MediaConfig, folder: &Path) {
    media.folder = folder.join(&media.folder);
    for path in media.s3.ca_files.iter_mut().chain(&mut media.s3.secret_access_key_file) {
        *path = folder.join(&*path);
    }
}

impl MediaConfig {
    /// Finds contradictions.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("max_upload_bytes", self.max_upload_bytes),
            ("max_image_pixels", self.max_image_pixels),
            ("max_remote_bytes", self.max_remote_bytes),
            ("uploads_per_user", u64::try_from(self.uploads_per_user).unwrap_or(u64::MAX)),
            ("pending_lifetime_s", self.pending_lifetime_s),
        ] {
            if value == 0 {
                return Err(format!("`{key}` in [media] must be at least 1"));
            }
        }
        if !(1..=100).contains(&self.max_pending) {
            return Err("`max_pending` in [media] must be from 1 to 100".to_owned());
        }
        if self.pending_lifetime_s > 365 * 86_400 {
            return Err("`pending_lifetime_s` in [media] must be at most a year".to_owned());
        }
        let rate = &self.preview_rate;
        if !rate.per_second.is_finite() || rate.per_second <= 0.0 || rate.burst == 0 {
            return Err("`preview_rate` in [media] needs `per_second` and `burst` greater than 0".to_owned());
        }
        let s3 = &self.s3;
        if !s3.bucket.is_empty() {
            let has_secret = s3.secret_access_key.is_empty() == s3.secret_access_key_file.is_some();
            if s3.access_key_id.is_empty() || !has_secret {
                return Err(
                    "[media.s3] needs `access_key_id`, and `secret_access_key` or `secret_access_key_file`"
                        .to_owned(),
                );
            }
            if s3.region.is_empty() {
                return Err(
                    "[media.s3] needs `region`; services that have none take \"us-east-1\"".to_owned()
                );
            }
        }
        Ok(())
    }
}
