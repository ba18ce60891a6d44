CREATE TABLE media_users (
    user_id text NOT NULL PRIMARY KEY,
    last_no bigint NOT NULL,
    cleared_no bigint NOT NULL,
    files bigint NOT NULL,
    bytes bigint NOT NULL,
    day_ts bigint NOT NULL,
    day_bytes bigint NOT NULL,
    has_garbage boolean NOT NULL
);
COMMENT ON TABLE media_users IS 'What users of this server have stored, in all.';
COMMENT ON COLUMN media_users.user_id IS 'User of this server.';
COMMENT ON COLUMN media_users.last_no IS 'Number of the last media that the user uploaded or reserved.';
COMMENT ON COLUMN media_users.cleared_no IS 'All media whose number is not greater than this was deleted at once: its rows do not count, and go in steps.';
COMMENT ON COLUMN media_users.files IS 'Media that is ready.';
COMMENT ON COLUMN media_users.bytes IS 'Bytes of it.';
COMMENT ON COLUMN media_users.day_ts IS 'Beginning of the last day of UTC on which the user uploaded something, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN media_users.day_bytes IS 'Bytes that were uploaded on that day, whatever became of them.';
COMMENT ON COLUMN media_users.has_garbage IS 'Whether there may be rows of media that do not count.';
CREATE INDEX media_users_garbage ON media_users (user_id) WHERE has_garbage;

CREATE TABLE media (
    server_name text NOT NULL,
    media_id text NOT NULL,
    user_id text NOT NULL,
    no bigint NOT NULL,
    remote boolean NOT NULL,
    sha256 bytea,
    size bigint NOT NULL,
    content_type text NOT NULL,
    file_name text NOT NULL,
    created_ts bigint NOT NULL,
    ready_ts bigint NOT NULL,
    expires_ts bigint NOT NULL,
    accessed_ts bigint NOT NULL,
    quarantined_ts bigint NOT NULL,
    quarantined_by text NOT NULL,
    quarantine_reason text NOT NULL,
    thumbnail_bytes bigint NOT NULL,
    PRIMARY KEY (server_name, media_id)
);
COMMENT ON TABLE media IS 'Which blob media is: of this server, and of others as far as it is cached or quarantined.';
COMMENT ON COLUMN media.server_name IS 'Server name of the mxc:// URI.';
COMMENT ON COLUMN media.media_id IS 'Media ID of the mxc:// URI.';
COMMENT ON COLUMN media.user_id IS 'Uploader; empty for media of other servers and what this server stored by itself.';
COMMENT ON COLUMN media.no IS 'Number among the media of the uploader, from 1; 0 without one.';
COMMENT ON COLUMN media.remote IS 'Whether it is of another server.';
COMMENT ON COLUMN media.sha256 IS 'SHA-256 of its bytes, by which the object store knows them. Unset for a reserved ID, and for media of other servers that is not cached but quarantined.';
COMMENT ON COLUMN media.size IS 'How many bytes; 0 if there are none.';
COMMENT ON COLUMN media.content_type IS 'Content type as the uploader or the other server says; empty for none.';
COMMENT ON COLUMN media.file_name IS 'File name as the uploader or the other server says; empty for none.';
COMMENT ON COLUMN media.created_ts IS 'When it was reserved, uploaded or fetched, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN media.ready_ts IS 'When its blob was committed, in milliseconds since the Unix epoch; 0 if there is none.';
COMMENT ON COLUMN media.expires_ts IS 'When the reservation expires, or the media goes, in milliseconds since the Unix epoch; 0 for never.';
COMMENT ON COLUMN media.accessed_ts IS 'Beginning of the day of UTC on which it was last read, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN media.quarantined_ts IS 'When it was quarantined, in milliseconds since the Unix epoch; 0 if it is not.';
COMMENT ON COLUMN media.quarantined_by IS 'Who quarantined it; empty if nobody did.';
COMMENT ON COLUMN media.quarantine_reason IS 'Why; empty if it is not.';
COMMENT ON COLUMN media.thumbnail_bytes IS 'Bytes of its thumbnails together.';
CREATE INDEX media_blobs ON media (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX media_of_users ON media (user_id, no) WHERE user_id <> '';
CREATE INDEX media_reserved ON media (user_id, expires_ts) WHERE sha256 IS NULL AND NOT remote;
CREATE INDEX media_expiring ON media (expires_ts) WHERE expires_ts > 0;
CREATE INDEX media_accessed ON media (remote, accessed_ts, server_name, media_id) WHERE sha256 IS NOT NULL;
CREATE INDEX media_cached ON media (server_name, accessed_ts, media_id) INCLUDE (size, thumbnail_bytes)
    WHERE remote AND sha256 IS NOT NULL;
CREATE INDEX media_quarantined ON media (server_name, media_id) WHERE quarantined_ts > 0;

CREATE TABLE media_thumbnails (
    server_name text NOT NULL,
    media_id text NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    method smallint NOT NULL,
    animated boolean NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    PRIMARY KEY (server_name, media_id, width, height, method, animated),
    FOREIGN KEY (server_name, media_id) REFERENCES media (server_name, media_id) ON DELETE CASCADE
);
COMMENT ON TABLE media_thumbnails IS 'Thumbnails that were made. They go with the media, so that none of them holds a blob that nobody can ask for.';
COMMENT ON COLUMN media_thumbnails.server_name IS 'Server name of the media.';
COMMENT ON COLUMN media_thumbnails.media_id IS 'Media ID of the media.';
COMMENT ON COLUMN media_thumbnails.width IS 'Width in pixels that it was made for.';
COMMENT ON COLUMN media_thumbnails.height IS 'Height in pixels that it was made for.';
COMMENT ON COLUMN media_thumbnails.method IS '1: it fills the size and was cut; 2: it fits into the size.';
COMMENT ON COLUMN media_thumbnails.animated IS 'Whether it moves.';
COMMENT ON COLUMN media_thumbnails.content_type IS 'Content type.';
COMMENT ON COLUMN media_thumbnails.size IS 'How many bytes.';
COMMENT ON COLUMN media_thumbnails.sha256 IS 'SHA-256 of its bytes, by which the object store knows them.';
CREATE INDEX media_thumbnail_blobs ON media_thumbnails (sha256);
