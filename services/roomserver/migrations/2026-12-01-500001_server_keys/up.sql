CREATE TABLE server_keys (
    server_name text NOT NULL,
    key_id text NOT NULL,
    public_key bytea NOT NULL,
    valid_until_ts bigint NOT NULL,
    expired_ts bigint,
    fetched_ts bigint NOT NULL,
    direct boolean NOT NULL,
    PRIMARY KEY (server_name, key_id)
);
COMMENT ON TABLE server_keys IS 'Keys of other servers, every one that was ever seen: they prove who made events, also when the server is gone.';
COMMENT ON COLUMN server_keys.server_name IS 'Server.';
COMMENT ON COLUMN server_keys.key_id IS 'ID of the key, such as ed25519:a_b1c2.';
COMMENT ON COLUMN server_keys.public_key IS 'The public key: 32 bytes.';
COMMENT ON COLUMN server_keys.valid_until_ts IS 'Up to when the server said last that the key is valid, in milliseconds since the Unix epoch; 0 if it only ever told it as an old one.';
COMMENT ON COLUMN server_keys.expired_ts IS 'When the key was taken out of use, in milliseconds since the Unix epoch; null if it was not.';
COMMENT ON COLUMN server_keys.fetched_ts IS 'When that was fetched, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN server_keys.direct IS 'Whether the server told the key itself, rather than a notary.';

CREATE TABLE server_key_responses (
    server_name text NOT NULL,
    response bytea NOT NULL,
    valid_until_ts bigint NOT NULL,
    fetched_ts bigint NOT NULL,
    PRIMARY KEY (server_name)
);
COMMENT ON TABLE server_key_responses IS 'The last word of other servers about their keys, as they signed it: what a notary passes on.';
COMMENT ON COLUMN server_key_responses.server_name IS 'Server.';
COMMENT ON COLUMN server_key_responses.response IS 'JSON, as it was fetched.';
COMMENT ON COLUMN server_key_responses.valid_until_ts IS 'Up to when it is valid, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN server_key_responses.fetched_ts IS 'When it was fetched, in milliseconds since the Unix epoch.';
