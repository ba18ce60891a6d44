CREATE TABLE sender_shards (
    shard smallint PRIMARY KEY,
    sender bytea NOT NULL,
    serial bigint NOT NULL,
    positions bigint[] NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE sender_shards IS 'How far the senders to other servers are: one row for each of the 64 shards of destinations.';
COMMENT ON COLUMN sender_shards.shard IS 'Shard.';
COMMENT ON COLUMN sender_shards.sender IS 'Names the sender that has claimed it last: nobody else may write what belongs to it.';
COMMENT ON COLUMN sender_shards.serial IS 'Number of the last request of the sender that changed something: an earlier one that comes late changes nothing.';
COMMENT ON COLUMN sender_shards.positions IS 'seq of the last record of OutputRoomEvent that the shard is done with, for each partition: delivered, or kept in destination_rooms.';

CREATE TABLE destinations (
    server text PRIMARY KEY,
    shard smallint NOT NULL,
    failures integer NOT NULL,
    first_failure_ts bigint NOT NULL,
    retry_ts bigint NOT NULL,
    error text NOT NULL,
    last_success_ts bigint NOT NULL,
    ordered smallint NOT NULL DEFAULT 0
);
CREATE INDEX destinations_shard ON destinations (shard);
CREATE INDEX destinations_ordered ON destinations (shard) WHERE ordered <> 0;
COMMENT ON TABLE destinations IS 'Other servers that fail, or have not taken everything they are to be sent.';
COMMENT ON COLUMN destinations.server IS 'Server.';
COMMENT ON COLUMN destinations.shard IS 'Its shard.';
COMMENT ON COLUMN destinations.failures IS 'Failures since the last success.';
COMMENT ON COLUMN destinations.first_failure_ts IS 'When the first of them was, in milliseconds since the Unix epoch; 0 if there is none.';
COMMENT ON COLUMN destinations.retry_ts IS 'When it is tried again, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN destinations.error IS 'What went wrong last.';
COMMENT ON COLUMN destinations.last_success_ts IS 'When it last took something, in milliseconds since the Unix epoch; 0 if that is not known.';
COMMENT ON COLUMN destinations.ordered IS 'What an operator wants that the sender has not heard yet: 1 try it now, 2 forget it; 0: nothing.';

CREATE TABLE destination_rooms (
    server text NOT NULL,
    room_id text NOT NULL,
    after_seq bigint NOT NULL,
    PRIMARY KEY (server, room_id)
);
COMMENT ON TABLE destination_rooms IS 'Rooms in which other servers have not taken everything they are to be sent.';
COMMENT ON COLUMN destination_rooms.server IS 'Server, one of destinations.';
COMMENT ON COLUMN destination_rooms.room_id IS 'Room. It may be gone.';
COMMENT ON COLUMN destination_rooms.after_seq IS 'The server has everything up to and including this seq.';
