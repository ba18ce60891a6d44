ALTER TABLE devices ADD COLUMN last_seen_ts bigint NOT NULL DEFAULT 0, ADD COLUMN last_seen_ip text NOT NULL DEFAULT '';
COMMENT ON COLUMN devices.last_seen_ts IS 'When a request of the device was seen last, to the hour, in milliseconds since the Unix epoch; 0 if never.';
COMMENT ON COLUMN devices.last_seen_ip IS 'Address it came from; empty if that was not told.';
