CREATE TABLE key_backup_versions (
    user_id text NOT NULL,
    version bigint NOT NULL,
    algorithm text NOT NULL,
    auth_data bytea NOT NULL,
    etag bigint NOT NULL,
    count bigint NOT NULL,
    cleared_etag bigint NOT NULL,
    deleted boolean NOT NULL,
    has_garbage boolean NOT NULL,
    PRIMARY KEY (user_id, version)
);
COMMENT ON TABLE key_backup_versions IS 'Versions of the backups of room keys. One that was deleted stays, without its contents: numbers are given out once.';
COMMENT ON COLUMN key_backup_versions.user_id IS 'User of this server.';
COMMENT ON COLUMN key_backup_versions.version IS 'Number of the version, from 1. The highest that was not deleted is the current one.';
COMMENT ON COLUMN key_backup_versions.algorithm IS 'Algorithm, as the client named it; empty once deleted.';
COMMENT ON COLUMN key_backup_versions.auth_data IS 'JSON text of the data that belong to the algorithm; empty once deleted.';
COMMENT ON COLUMN key_backup_versions.etag IS 'Counts the changes of what is stored.';
COMMENT ON COLUMN key_backup_versions.count IS 'How many sessions are stored.';
COMMENT ON COLUMN key_backup_versions.cleared_etag IS 'All keys whose etag is not greater than this were deleted at once: their rows do not count, and go in steps.';
COMMENT ON COLUMN key_backup_versions.deleted IS 'Whether the version was deleted.';
COMMENT ON COLUMN key_backup_versions.has_garbage IS 'Whether there may be rows of keys that do not count.';
CREATE INDEX key_backup_versions_live ON key_backup_versions (user_id, version) WHERE NOT deleted;
CREATE INDEX key_backup_versions_garbage ON key_backup_versions (user_id, version) WHERE has_garbage;

CREATE TABLE key_backup_keys (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    is_verified boolean NOT NULL,
    session_data bytea NOT NULL,
    etag bigint NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);
COMMENT ON TABLE key_backup_keys IS 'Backed up room keys, encrypted by the client.';
COMMENT ON COLUMN key_backup_keys.user_id IS 'User of this server.';
COMMENT ON COLUMN key_backup_keys.version IS 'Version of the backup.';
COMMENT ON COLUMN key_backup_keys.room_id IS 'Room.';
COMMENT ON COLUMN key_backup_keys.session_id IS 'Megolm session.';
COMMENT ON COLUMN key_backup_keys.first_message_index IS 'Index of the first message that the key decrypts.';
COMMENT ON COLUMN key_backup_keys.forwarded_count IS 'How often the key was forwarded.';
COMMENT ON COLUMN key_backup_keys.is_verified IS 'Whether the device that backed it up verified where it came from.';
COMMENT ON COLUMN key_backup_keys.session_data IS 'JSON text of the encrypted key.';
COMMENT ON COLUMN key_backup_keys.etag IS 'etag of the version since which the row is as it is.';
