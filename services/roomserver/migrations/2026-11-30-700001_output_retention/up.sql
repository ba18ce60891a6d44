-- What has been there longer counts as written long ago: it goes as soon as it is published.
ALTER TABLE output_log ADD COLUMN written_ts bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN output_log.written_ts IS 'When the row was written, in milliseconds since the Unix epoch; 0 if before this was noted.';
ALTER TABLE user_output_log ADD COLUMN written_ts bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN user_output_log.written_ts IS 'When the row was written, in milliseconds since the Unix epoch; 0 if before this was noted.';
COMMENT ON TABLE output_log IS 'The output log of rooms: outbox for OutputRoomEvent and what StreamRange reads. Contiguous by partition, from the floor on.';
COMMENT ON TABLE user_output_log IS 'The output log of users: outbox for OutputUserEvent and what StreamRange reads. Contiguous by partition, from the floor on.';

CREATE TABLE output_floors (
    log text NOT NULL,
    partition smallint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (log, partition)
);
COMMENT ON TABLE output_floors IS 'One row per output log and partition: what has been deleted of it.';
COMMENT ON COLUMN output_floors.log IS 'Topic of the output log.';
COMMENT ON COLUMN output_floors.partition IS 'Partition.';
COMMENT ON COLUMN output_floors.seq IS 'Sequence number of the last record that was deleted, with all before it; 0 if none was.';
INSERT INTO output_floors (log, partition, seq)
SELECT log, partition, 0 FROM partition_state, unnest(ARRAY['OutputRoomEvent', 'OutputUserEvent']) AS log;

CREATE TABLE reader_cursors (
    reader text NOT NULL,
    log text NOT NULL,
    partition smallint NOT NULL,
    seq bigint NOT NULL,
    updated_ts bigint NOT NULL,
    PRIMARY KEY (log, partition, reader)
);
COMMENT ON TABLE reader_cursors IS 'How far readers of the output logs are for whom records are kept.';
COMMENT ON COLUMN reader_cursors.reader IS 'Name of the reader.';
COMMENT ON COLUMN reader_cursors.log IS 'Topic of the output log.';
COMMENT ON COLUMN reader_cursors.partition IS 'Partition.';
COMMENT ON COLUMN reader_cursors.seq IS 'Sequence number of the last record that the reader is done with, with all before it.';
COMMENT ON COLUMN reader_cursors.updated_ts IS 'When the reader said so last, in milliseconds since the Unix epoch.';
