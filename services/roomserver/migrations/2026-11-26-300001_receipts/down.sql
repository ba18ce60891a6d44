ALTER TABLE current_members DROP COLUMN since_seq;
DROP TABLE receipts;
