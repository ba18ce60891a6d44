CREATE TABLE room_upgrades (
    new_room_id text PRIMARY KEY,
    old_room_id text NOT NULL,
    partition smallint NOT NULL,
    record bytea NOT NULL,
    created_ts bigint NOT NULL
);
CREATE INDEX room_upgrades_partition ON room_upgrades (partition);
COMMENT ON TABLE room_upgrades IS 'Rooms that are to replace others and may not have been made yet. A row goes when the room is there.';
COMMENT ON COLUMN room_upgrades.new_room_id IS 'The new room, which the tombstone of the old one names.';
COMMENT ON COLUMN room_upgrades.old_room_id IS 'The room that is replaced.';
COMMENT ON COLUMN room_upgrades.partition IS 'Partition of the room that is replaced.';
COMMENT ON COLUMN room_upgrades.record IS 'The input that makes the new room, encoded.';
COMMENT ON COLUMN room_upgrades.created_ts IS 'When the old room was replaced, in milliseconds since the Unix epoch.';
