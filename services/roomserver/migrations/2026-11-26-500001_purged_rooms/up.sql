CREATE TABLE purged_rooms (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL UNIQUE,
    partition smallint NOT NULL,
    purged_ts bigint NOT NULL
);
COMMENT ON TABLE purged_rooms IS 'Rooms that were deleted and whose rows are still being deleted.';
COMMENT ON COLUMN purged_rooms.room_nid IS 'Numeric ID that the room had.';
COMMENT ON COLUMN purged_rooms.room_id IS 'Room ID; nobody joins it again before all is gone.';
COMMENT ON COLUMN purged_rooms.partition IS 'Partition of the room.';
COMMENT ON COLUMN purged_rooms.purged_ts IS 'When, in milliseconds since the Unix epoch.';
