CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys bytea NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
COMMENT ON TABLE device_keys IS 'Identity keys of devices. A device that was deleted has none.';
COMMENT ON COLUMN device_keys.user_id IS 'User.';
COMMENT ON COLUMN device_keys.device_id IS 'Device.';
COMMENT ON COLUMN device_keys.keys IS 'Canonical JSON of the object that the device uploaded, without unsigned.';
COMMENT ON COLUMN device_keys.seq IS 'Sequence number, in the partition of the user, of the record that told of them.';

CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    generation bigint NOT NULL,
    seq bigint NOT NULL,
    index integer NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);
CREATE INDEX one_time_keys_order ON one_time_keys (user_id, device_id, algorithm, generation, seq, index);
COMMENT ON TABLE one_time_keys IS 'One-time keys that nobody has claimed yet. Those of an earlier generation of the database may have been claimed: they are neither counted nor handed out.';
COMMENT ON COLUMN one_time_keys.user_id IS 'User.';
COMMENT ON COLUMN one_time_keys.device_id IS 'Device.';
COMMENT ON COLUMN one_time_keys.algorithm IS 'Algorithm, such as signed_curve25519.';
COMMENT ON COLUMN one_time_keys.key_id IS 'ID of the key, unique for the device and the algorithm.';
COMMENT ON COLUMN one_time_keys.key IS 'JSON of the key as it was uploaded: a string or an object.';
COMMENT ON COLUMN one_time_keys.generation IS 'Generation of the database in which it was uploaded.';
COMMENT ON COLUMN one_time_keys.seq IS 'Order of uploads: the sequence number of the record that told of it. The oldest is claimed first.';
COMMENT ON COLUMN one_time_keys.index IS 'Place in its upload.';

CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    used boolean NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm)
);
COMMENT ON TABLE fallback_keys IS 'Keys that are handed out where no one-time key is left; each device has one for each algorithm.';
COMMENT ON COLUMN fallback_keys.user_id IS 'User.';
COMMENT ON COLUMN fallback_keys.device_id IS 'Device.';
COMMENT ON COLUMN fallback_keys.algorithm IS 'Algorithm.';
COMMENT ON COLUMN fallback_keys.key_id IS 'ID of the key.';
COMMENT ON COLUMN fallback_keys.key IS 'JSON of the key as it was uploaded: a string or an object.';
COMMENT ON COLUMN fallback_keys.used IS 'Whether it was handed out since it was uploaded.';
COMMENT ON COLUMN fallback_keys.generation IS 'Generation of the database in which it was uploaded; one of an earlier generation counts as used.';

CREATE TABLE cross_signing_keys (
    user_id text NOT NULL,
    usage text NOT NULL,
    public_key text NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (user_id, usage)
);
COMMENT ON TABLE cross_signing_keys IS 'Cross-signing keys of users.';
COMMENT ON COLUMN cross_signing_keys.user_id IS 'User.';
COMMENT ON COLUMN cross_signing_keys.usage IS 'master, self_signing or user_signing.';
COMMENT ON COLUMN cross_signing_keys.public_key IS 'The ed25519 key, in unpadded base64. No device of the user has an ID like it.';
COMMENT ON COLUMN cross_signing_keys.key IS 'Canonical JSON of the object that was uploaded, without unsigned.';

CREATE TABLE key_signatures (
    target_user_id text NOT NULL,
    target_key text NOT NULL,
    signer_user_id text NOT NULL,
    signer_key_id text NOT NULL,
    signature text NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (target_user_id, target_key, signer_user_id, signer_key_id)
);
CREATE INDEX key_signatures_signer ON key_signatures (signer_user_id, seq);
COMMENT ON TABLE key_signatures IS 'Signatures on keys that were uploaded apart from the keys. Each was verified.';
COMMENT ON COLUMN key_signatures.target_user_id IS 'User whose key is signed.';
COMMENT ON COLUMN key_signatures.target_key IS 'What is signed: the ID of a device, or the public key of a master key.';
COMMENT ON COLUMN key_signatures.signer_user_id IS 'User who signed. Their partition alone writes the row.';
COMMENT ON COLUMN key_signatures.signer_key_id IS 'The key it is made by, such as ed25519:JLAFKJWSCS.';
COMMENT ON COLUMN key_signatures.signature IS 'The signature, in unpadded base64.';
COMMENT ON COLUMN key_signatures.seq IS 'Sequence number, in the partition of the signer, of the record that told of it.';

CREATE TABLE key_changes (
    user_id text PRIMARY KEY,
    partition smallint NOT NULL,
    seq bigint NOT NULL
);
CREATE INDEX key_changes_order ON key_changes (partition, seq);
COMMENT ON TABLE key_changes IS 'When the devices or keys of users changed last, for the device lists of those who share rooms with them.';
COMMENT ON COLUMN key_changes.user_id IS 'User.';
COMMENT ON COLUMN key_changes.partition IS 'Partition of the user.';
COMMENT ON COLUMN key_changes.seq IS 'Sequence number of the last record of OutputUserEvent that told of a change.';

CREATE INDEX room_members_since ON room_members (room_nid, snapshot, since_seq);
