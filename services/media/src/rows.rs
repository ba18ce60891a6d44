//! Reads rows of media from the room server, and writes the commands that change them.

use std::time::Duration;

use bytes::Bytes;
use plexus_input::{InputWriter, MediaKey, SubmitError, derived_id};
use plexus_matrix_http::MatrixError;
use plexus_media_store::{Hash, Stored};
use plexus_proto::{
    log::v1::{
        AddThumbnail, CommitMedia, CommitRemoteMedia, DeleteMedia, EvictMedia, MediaThumbnail, MediaTotals,
        ReserveMedia, StoredBlob, TouchMedia, input_user_event::Command,
    },
    media::v1::{
        EvictableMedia, FindMediaRequest, FindUnnamedBlobsRequest, GetCacheUsageRequest,
        GetCacheUsageResponse, GetUserUsageRequest, GetUserUsageResponse, ListEvictableRequest,
        ListUserMediaRequest, ListUserMediaResponse, Media,
        media_query_service_client::MediaQueryServiceClient,
    },
};
use plexus_s2s::now_ms;
use plexus_service::RpcChannel;
use prost::Message as _;
use ruma::{OwnedUserId, ServerName, UserId};
use tonic::Request;

use crate::id::MediaUri;

/// A day, in milliseconds: reading is noted to the day.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Blobs that are asked about at once, as the contract allows.
const BLOBS: usize = 1_000;

/// Asks and tells the room server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rows {
    queries: MediaQueryServiceClient<RpcChannel>,
    input: InputWriter,
}

/// What an upload of a user is to become.
pub(crate) struct Commit<'a> {
    pub(crate) user_id: &'a UserId,
    pub(crate) media_id: String,
    pub(crate) reserved: bool,
    pub(crate) begun_ts: i64,
    pub(crate) blob: StoredBlob,
    pub(crate) max_user_bytes: u64,
    pub(crate) max_user_bytes_per_day: u64,
    pub(crate) max_user_files: u64,
}

impl Rows {
    pub(crate) fn new(rooms: RpcChannel, input: InputWriter) -> Self {
        Self { queries: MediaQueryServiceClient::new(rooms), input }
    }

    /// Finds media, as it is now.
    pub(crate) async fn find(&self, uri: &MediaUri) -> Result<Option<Media>, MatrixError> {
        let request =
            FindMediaRequest { server_name: uri.server_name.to_string(), media_id: uri.media_id.clone() };
        Ok(self.queries.clone().find_media(timed(request)).await?.into_inner().media)
    }

    pub(crate) async fn list_of_user(
        &self,
        user_id: &UserId,
        page_token: String,
        limit: u32,
    ) -> Result<ListUserMediaResponse, MatrixError> {
        let request = ListUserMediaRequest { user_id: user_id.to_string(), page_token, limit };
        Ok(self.queries.clone().list_user_media(timed(request)).await?.into_inner())
    }

    pub(crate) async fn usage(&self, user_id: &UserId) -> Result<GetUserUsageResponse, MatrixError> {
        let request = GetUserUsageRequest { user_id: user_id.to_string() };
        Ok(self.queries.clone().get_user_usage(timed(request)).await?.into_inner())
    }

    pub(crate) async fn cache_usage(&self, servers: u32) -> Result<GetCacheUsageResponse, MatrixError> {
        let request = GetCacheUsageRequest { servers };
        Ok(self.queries.clone().get_cache_usage(timed(request)).await?.into_inner())
    }

    pub(crate) async fn evictable(
        &self,
        server_name: &str,
        limit: u32,
    ) -> Result<Vec<EvictableMedia>, MatrixError> {
        let request =
            ListEvictableRequest { server_name: server_name.to_owned(), accessed_before_ts: 0, limit };
        Ok(self.queries.clone().list_evictable(timed(request)).await?.into_inner().media)
    }

    /// Tells which of these blobs nobody names.
    pub(crate) async fn unnamed(&self, hashes: &[Hash]) -> Result<Vec<Hash>, MatrixError> {
        let mut unnamed = Vec::new();
        for hashes in hashes.chunks(BLOBS) {
            let sha256 = hashes.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect();
            let request = FindUnnamedBlobsRequest { sha256 };
            let answer = self.queries.clone().find_unnamed_blobs(timed(request)).await?.into_inner();
            unnamed.extend(answer.sha256.iter().filter_map(|hash| Hash::try_from(&hash[..]).ok()));
        }
        Ok(unnamed)
    }

    pub(crate) async fn reserve(
        &self,
        user_id: &UserId,
        media_id: &str,
        expires_ts: i64,
        max_pending: u32,
    ) -> Result<(), SubmitError> {
        let command = ReserveMedia { media_id: media_id.to_owned(), expires_ts, max_pending };
        let id = derived_id(&[b"ReserveMedia", media_id.as_bytes()]);
        self.submit(id, &MediaKey::Uploader(user_id), Command::ReserveMedia(command)).await.map(drop)
    }

    /// Makes an upload of a user ready.
    pub(crate) async fn commit(&self, commit: Commit<'_>) -> Result<(), SubmitError> {
        let id = derived_id(&[b"CommitMedia", commit.media_id.as_bytes(), &commit.blob.sha256]);
        let command = CommitMedia {
            media_id: commit.media_id,
            reserved: commit.reserved,
            begun_ts: commit.begun_ts,
            blob: Some(commit.blob),
            expires_ts: 0,
            max_user_bytes: commit.max_user_bytes,
            max_user_bytes_per_day: commit.max_user_bytes_per_day,
            max_user_files: commit.max_user_files,
        };
        self.submit(id, &MediaKey::Uploader(commit.user_id), Command::CommitMedia(command)).await.map(drop)
    }

    /// Makes media ready that this server stores by itself, for a while.
    pub(crate) async fn commit_own(
        &self,
        uri: &MediaUri,
        blob: StoredBlob,
        expires_ts: i64,
    ) -> Result<(), SubmitError> {
        let id = derived_id(&[b"CommitMedia", uri.media_id.as_bytes(), &blob.sha256]);
        let command = CommitMedia {
            media_id: uri.media_id.clone(),
            begun_ts: now_ms(),
            blob: Some(blob),
            expires_ts,
            ..CommitMedia::default()
        };
        self.submit(id, &uri_key(uri), Command::CommitMedia(command)).await.map(drop)
    }

    pub(crate) async fn commit_remote(&self, uri: &MediaUri, blob: StoredBlob) -> Result<(), SubmitError> {
        let (uri_text, now) = (uri.to_string(), now_ms().to_be_bytes());
        let id = derived_id(&[b"CommitRemoteMedia", uri_text.as_bytes(), &blob.sha256, &now]);
        let command = Command::CommitRemoteMedia(CommitRemoteMedia { blob: Some(blob) });
        self.submit(id, &uri_key(uri), command).await.map(drop)
    }

    pub(crate) async fn add_thumbnail(
        &self,
        media: &Media,
        uri: &MediaUri,
        of: Hash,
        thumbnail: MediaThumbnail,
    ) -> Result<(), SubmitError> {
        let size = [thumbnail.width.to_be_bytes(), thumbnail.height.to_be_bytes()].concat();
        let kind = [u8::try_from(thumbnail.method).unwrap_or(0), u8::from(thumbnail.animated)];
        let id = derived_id(&[b"AddThumbnail", uri.to_string().as_bytes(), &of.0, &size, &kind]);
        let command = AddThumbnail {
            media_id: uri.media_id.clone(),
            of_sha256: Bytes::copy_from_slice(&of.0),
            thumbnail: Some(thumbnail),
        };
        let user_id = uploader(media);
        self.submit(id, &key(user_id.as_deref(), uri), Command::AddThumbnail(command)).await.map(drop)
    }

    pub(crate) async fn touch(&self, user_id: Option<&UserId>, uri: &MediaUri) -> Result<(), SubmitError> {
        let day = (now_ms() / DAY_MS).to_be_bytes();
        let id = derived_id(&[b"TouchMedia", uri.to_string().as_bytes(), &day]);
        let command = Command::TouchMedia(TouchMedia { media_id: uri.media_id.clone() });
        self.submit(id, &key(user_id, uri), command).await.map(drop)
    }

    pub(crate) async fn delete(&self, user_id: &UserId, media_id: &str) -> Result<(), SubmitError> {
        let id = derived_id(&[b"DeleteMedia", user_id.as_bytes(), media_id.as_bytes()]);
        let command =
            DeleteMedia { media_id: media_id.to_owned(), by_operator: false, accessed_before_ts: 0 };
        self.submit(id, &MediaKey::Uploader(user_id), Command::DeleteMedia(command)).await.map(drop)
    }

    /// Forgets cached media, if it was not read since; returns its bytes.
    pub(crate) async fn evict(&self, uri: &MediaUri, accessed_before_ts: i64) -> Result<u64, SubmitError> {
        let now = now_ms().to_be_bytes();
        let id = derived_id(&[b"EvictMedia", uri.to_string().as_bytes(), &now]);
        let command = Command::EvictMedia(EvictMedia { accessed_before_ts });
        let payload = self.submit(id, &uri_key(uri), command).await?;
        Ok(MediaTotals::decode(&payload[..]).map_or(0, |totals| totals.bytes))
    }

    async fn submit(&self, id: Bytes, key: &MediaKey<'_>, command: Command) -> Result<Bytes, SubmitError> {
        Ok(self.input.submit_media_as(id, key, command).await?.payload)
    }
}

/// Who uploaded media, if a user of ours did.
pub(crate) fn uploader(media: &Media) -> Option<OwnedUserId> {
    UserId::parse(media.user_id.as_str()).ok()
}

fn key<'a>(user_id: Option<&'a UserId>, uri: &'a MediaUri) -> MediaKey<'a> {
    user_id.map_or_else(|| uri_key(uri), MediaKey::Uploader)
}

fn uri_key(uri: &MediaUri) -> MediaKey<'_> {
    let server_name: &ServerName = &uri.server_name;
    MediaKey::Uri { server_name, media_id: &uri.media_id }
}

/// A blob that is stored, as rows name it.
pub(crate) fn blob(stored: Stored, content_type: String, file_name: String) -> StoredBlob {
    StoredBlob { sha256: Bytes::copy_from_slice(&stored.hash.0), size: stored.size, content_type, file_name }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}
