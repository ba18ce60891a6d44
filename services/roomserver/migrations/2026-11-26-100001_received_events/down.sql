DROP TABLE state_resets, decisions, snapshot_chunks, backward_refs, parked_on, parked, room_states;
ALTER TABLE rooms DROP COLUMN oldest_position, DROP COLUMN has_gaps, DROP COLUMN forked, DROP COLUMN parked;
ALTER TABLE partition_state DROP COLUMN bulk_input_id, DROP COLUMN bulk_offset;
