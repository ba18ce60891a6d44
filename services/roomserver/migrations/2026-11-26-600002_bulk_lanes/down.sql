ALTER TABLE partition_state
    ADD COLUMN bulk_offset bigint NOT NULL DEFAULT 0,
    ADD COLUMN bulk_input_id bytea;
UPDATE partition_state AS s SET bulk_offset = b.bulk_offset, bulk_input_id = b.bulk_input_id
FROM bulk_lanes AS b WHERE b.partition = s.partition;
DROP TABLE bulk_lanes;
