CREATE TABLE device_list_changes (
    user_id text NOT NULL,
    device_id text NOT NULL,
    stream_id bigint NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
CREATE INDEX device_list_changes_order ON device_list_changes (user_id, stream_id);
COMMENT ON TABLE device_list_changes IS 'The last change of each device of users of this server, also of devices that are gone: at most 300 for a user.';
COMMENT ON COLUMN device_list_changes.user_id IS 'User of this server.';
COMMENT ON COLUMN device_list_changes.device_id IS 'Device that was added, renamed, given keys, signed, or removed.';
COMMENT ON COLUMN device_list_changes.stream_id IS 'Version of the list of devices that the change made, as other servers know it: the generation of the database times 2^40, and the sequence number of the record that told of it times 256, and the place in that record.';
INSERT INTO device_list_changes (user_id, device_id, stream_id)
SELECT k.user_id, k.device_id, (g.generation << 40) + k.seq * 256 FROM device_keys k CROSS JOIN db_generation g;

CREATE TABLE outgoing_device_lists (
    server text NOT NULL,
    user_id text NOT NULL,
    stream_id bigint NOT NULL,
    sent_stream_id bigint NOT NULL,
    keys_seq bigint NOT NULL,
    sent_keys_seq bigint NOT NULL,
    PRIMARY KEY (server, user_id)
);
CREATE INDEX outgoing_device_lists_waiting ON outgoing_device_lists (server, user_id)
WHERE stream_id > sent_stream_id OR keys_seq > sent_keys_seq;
COMMENT ON TABLE outgoing_device_lists IS 'What other servers are to be told of the devices and keys of users of this server, and have been told.';
COMMENT ON COLUMN outgoing_device_lists.server IS 'Server that was in a room with the user when something changed.';
COMMENT ON COLUMN outgoing_device_lists.user_id IS 'User of this server.';
COMMENT ON COLUMN outgoing_device_lists.stream_id IS 'Version of the list of devices that it is to know, as in device_list_changes.';
COMMENT ON COLUMN outgoing_device_lists.sent_stream_id IS 'The last version that it has taken: what comes next follows on it. 0: it was never sent any.';
COMMENT ON COLUMN outgoing_device_lists.keys_seq IS 'Sequence number of the last record that told of changed cross-signing keys that it is to know; 0: there is none.';
COMMENT ON COLUMN outgoing_device_lists.sent_keys_seq IS 'The same of those that it has taken.';

CREATE TABLE outgoing_to_device (
    server text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    content bytea NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (server, number)
);
COMMENT ON TABLE outgoing_to_device IS 'Messages to devices of users of other servers, until those have taken them, at most for 30 days.';
COMMENT ON COLUMN outgoing_to_device.server IS 'Server of the users.';
COMMENT ON COLUMN outgoing_to_device.number IS 'Order in which they are sent: that of acceptance for each sender.';
COMMENT ON COLUMN outgoing_to_device.content IS 'Content of the EDU m.direct_to_device, JSON.';
COMMENT ON COLUMN outgoing_to_device.created_ts IS 'When the input was produced, in milliseconds since the Unix epoch.';

COMMENT ON COLUMN verdicts.created_ts IS 'produced_ts of the input, in milliseconds since the Unix epoch; 30 days later for messages to devices from other servers, which repeat them for so long.';
