COMMENT ON COLUMN threads.latest_seq IS 'Its sequence number; 0 if there is none.';
COMMENT ON COLUMN event_relations.seq IS 'Sequence number of its output record.';
