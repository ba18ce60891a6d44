-- The bulk lane gets a row of its own, which its batches compare and set: so they and those of live traffic do not wait
-- for each other's commits.
CREATE TABLE bulk_lanes (
    partition smallint PRIMARY KEY,
    epoch bigint NOT NULL,
    bulk_offset bigint NOT NULL,
    bulk_input_id bytea,
    next_nid bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE bulk_lanes IS 'One row per partition: how far its bulk lane is, and what that hands out.';
COMMENT ON COLUMN bulk_lanes.partition IS 'Partition.';
COMMENT ON COLUMN bulk_lanes.epoch IS 'That of partition_state.';
COMMENT ON COLUMN bulk_lanes.bulk_offset IS 'Next offset of InputRoomEventBulk to process.';
COMMENT ON COLUMN bulk_lanes.bulk_input_id IS 'input_id of the record before bulk_offset.';
COMMENT ON COLUMN bulk_lanes.next_nid IS 'Next numeric ID for what is processed aside of live traffic: below all that live traffic is given.';
INSERT INTO bulk_lanes (partition, epoch, bulk_offset, bulk_input_id, next_nid)
SELECT partition, epoch, bulk_offset, bulk_input_id, next_nid FROM partition_state;

ALTER TABLE partition_state DROP COLUMN bulk_offset, DROP COLUMN bulk_input_id;
UPDATE partition_state SET next_nid = next_nid | (1::bigint << 50);
COMMENT ON COLUMN partition_state.next_nid IS 'Next numeric ID: partition in the upper 12 bits, then a bit that is set, a counter in the lower 50.';
COMMENT ON COLUMN snapshot_chunks.chunk IS 'Number of the chunk, from 0; -1 for what all of them come to.';
