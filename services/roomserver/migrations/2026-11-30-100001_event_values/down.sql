DROP TABLE backfills;
ALTER TABLE events DROP COLUMN value;
