ALTER TABLE devices DROP COLUMN last_seen_ip, DROP COLUMN last_seen_ts;
