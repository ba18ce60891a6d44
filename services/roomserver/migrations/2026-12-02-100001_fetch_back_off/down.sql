DROP INDEX parked_partition;
ALTER TABLE parked DROP COLUMN origin, DROP COLUMN not_before_ts;
