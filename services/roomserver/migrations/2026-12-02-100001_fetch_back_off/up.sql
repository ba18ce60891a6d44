ALTER TABLE parked
    ADD COLUMN not_before_ts bigint NOT NULL DEFAULT 0,
    ADD COLUMN origin text NOT NULL DEFAULT '';
COMMENT ON COLUMN parked.not_before_ts IS
    'When what is missing is to be fetched again, in milliseconds since the Unix epoch; 0 for at once.';
COMMENT ON COLUMN parked.origin IS 'Server that sent the event; empty if it was parked before that was kept.';
CREATE INDEX parked_partition ON parked (partition, parked_nid);
