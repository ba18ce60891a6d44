CREATE TABLE deferred_inputs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition smallint NOT NULL,
    room_id text NOT NULL,
    log smallint NOT NULL,
    log_offset bigint NOT NULL,
    input_id bytea NOT NULL,
    payload bytea NOT NULL,
    deferred_ts bigint NOT NULL
);
CREATE INDEX deferred_inputs_room ON deferred_inputs (partition, room_id, id);
COMMENT ON TABLE deferred_inputs IS 'Inputs of rooms of which one has cost more than its budget: that one, and all that came for the room since. They are worked off by the low-priority lane, in order, and go with the commit of what they come to.';
COMMENT ON COLUMN deferred_inputs.id IS 'Number of the entry: those of a room are in order.';
COMMENT ON COLUMN deferred_inputs.partition IS 'Partition.';
COMMENT ON COLUMN deferred_inputs.room_id IS 'Room ID.';
COMMENT ON COLUMN deferred_inputs.log IS 'Input log: 1 InputRoomEvent, 3 InputRoomEventBulk.';
COMMENT ON COLUMN deferred_inputs.log_offset IS 'Offset in the log.';
COMMENT ON COLUMN deferred_inputs.input_id IS 'input_id of the input.';
COMMENT ON COLUMN deferred_inputs.payload IS 'The record as read.';
COMMENT ON COLUMN deferred_inputs.deferred_ts IS 'When it was deferred, in milliseconds since the Unix epoch.';
