DROP TABLE reader_cursors, output_floors;
ALTER TABLE user_output_log DROP COLUMN written_ts;
ALTER TABLE output_log DROP COLUMN written_ts;
