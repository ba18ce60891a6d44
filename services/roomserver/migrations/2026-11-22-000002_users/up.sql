CREATE TABLE accounts (
    user_id text PRIMARY KEY,
    password_hash text,
    guest boolean NOT NULL DEFAULT false,
    admin boolean NOT NULL DEFAULT false,
    deactivated boolean NOT NULL DEFAULT false,
    erased boolean NOT NULL DEFAULT false,
    created_ts bigint NOT NULL
);
COMMENT ON TABLE accounts IS 'Users of this server.';
COMMENT ON COLUMN accounts.user_id IS 'User ID.';
COMMENT ON COLUMN accounts.password_hash IS 'Argon2id hash in PHC format; null if the account has no password.';
COMMENT ON COLUMN accounts.guest IS 'Whether it is a guest.';
COMMENT ON COLUMN accounts.admin IS 'Whether it is a server administrator.';
COMMENT ON COLUMN accounts.deactivated IS 'Whether it was deactivated; the user ID stays taken for ever.';
COMMENT ON COLUMN accounts.erased IS 'Whether the user asked to be erased.';
COMMENT ON COLUMN accounts.created_ts IS 'When it was created, in milliseconds since the Unix epoch.';

CREATE TABLE devices (
    user_id text NOT NULL,
    device_id text NOT NULL,
    display_name text,
    created_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
COMMENT ON TABLE devices IS 'Devices of users.';
COMMENT ON COLUMN devices.user_id IS 'User.';
COMMENT ON COLUMN devices.device_id IS 'Device ID.';
COMMENT ON COLUMN devices.display_name IS 'Display name.';
COMMENT ON COLUMN devices.created_ts IS 'When it first logged in, in milliseconds since the Unix epoch.';

CREATE TABLE access_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    expires_ts bigint NOT NULL,
    refresh_token_hash bytea
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
COMMENT ON TABLE access_tokens IS 'Access tokens, as hashes.';
COMMENT ON COLUMN access_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN access_tokens.user_id IS 'User.';
COMMENT ON COLUMN access_tokens.device_id IS 'Device.';
COMMENT ON COLUMN access_tokens.expires_ts IS 'When it expires, in milliseconds since the Unix epoch; 0 for never.';
COMMENT ON COLUMN access_tokens.refresh_token_hash IS 'The refresh token that came with it; null if none did.';

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    next_token_hash bytea
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
COMMENT ON TABLE refresh_tokens IS 'Refresh tokens, as hashes.';
COMMENT ON COLUMN refresh_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN refresh_tokens.user_id IS 'User.';
COMMENT ON COLUMN refresh_tokens.device_id IS 'Device.';
COMMENT ON COLUMN refresh_tokens.next_token_hash IS 'The refresh token it was exchanged for; it stays valid until that one, or its access token, is used.';

CREATE TABLE profiles (
    user_id text NOT NULL,
    field text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (user_id, field)
);
COMMENT ON TABLE profiles IS 'Fields of profiles.';
COMMENT ON COLUMN profiles.user_id IS 'User.';
COMMENT ON COLUMN profiles.field IS 'Field, such as displayname.';
COMMENT ON COLUMN profiles.value IS 'JSON text of the value.';

CREATE TABLE account_data (
    user_id text NOT NULL,
    room_id text NOT NULL,
    type text NOT NULL,
    content bytea NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
COMMENT ON TABLE account_data IS 'Account data of users, global and of rooms.';
COMMENT ON COLUMN account_data.user_id IS 'User.';
COMMENT ON COLUMN account_data.room_id IS 'Room; empty for global data.';
COMMENT ON COLUMN account_data.type IS 'Type.';
COMMENT ON COLUMN account_data.content IS 'JSON text of the content.';
COMMENT ON COLUMN account_data.seq IS 'Sequence number of the change in the user''s partition of OutputUserEvent.';

CREATE TABLE filters (
    user_id text NOT NULL,
    filter_id text NOT NULL,
    filter bytea NOT NULL,
    PRIMARY KEY (user_id, filter_id)
);
COMMENT ON TABLE filters IS 'Filters that clients have uploaded.';
COMMENT ON COLUMN filters.user_id IS 'User.';
COMMENT ON COLUMN filters.filter_id IS 'Filter ID, derived from the content.';
COMMENT ON COLUMN filters.filter IS 'JSON text of the filter.';

CREATE TABLE user_output_log (
    partition smallint NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (partition, seq)
);
COMMENT ON TABLE user_output_log IS 'The output log of users: outbox for OutputUserEvent and what StreamRange reads. Contiguous by partition.';
COMMENT ON COLUMN user_output_log.partition IS 'Partition.';
COMMENT ON COLUMN user_output_log.seq IS 'Sequence number, from 1.';
COMMENT ON COLUMN user_output_log.body IS 'plexus.log.v1.OutputUserEvent.';
