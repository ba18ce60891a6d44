CREATE TABLE to_device (
    user_id text NOT NULL,
    device_id text NOT NULL,
    seq bigint NOT NULL,
    sender text NOT NULL,
    type text NOT NULL,
    content bytea NOT NULL,
    request_key bytea,
    created_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, seq)
);
COMMENT ON TABLE to_device IS 'Messages to devices that were not acknowledged yet. One goes when its device has presented a sync token at or after it, when the device goes, when a newer one replaces it, or when too many wait.';
COMMENT ON COLUMN to_device.user_id IS 'User of this server to whose device the message is.';
COMMENT ON COLUMN to_device.device_id IS 'Device that the message is to.';
COMMENT ON COLUMN to_device.seq IS 'Sequence number of the record of OutputUserEvent that told of it, in the partition of the user: the order of delivery.';
COMMENT ON COLUMN to_device.sender IS 'User who sent it, of any server.';
COMMENT ON COLUMN to_device.type IS 'Event type.';
COMMENT ON COLUMN to_device.content IS 'JSON text of the content.';
COMMENT ON COLUMN to_device.request_key IS 'What a room key request or its cancellation is about, hashed: a newer one of the same sender replaces it. NULL for all other messages.';
COMMENT ON COLUMN to_device.created_ts IS 'When the input was produced, in milliseconds since the Unix epoch.';
CREATE INDEX to_device_requests ON to_device (user_id, device_id, request_key) WHERE request_key IS NOT NULL;
