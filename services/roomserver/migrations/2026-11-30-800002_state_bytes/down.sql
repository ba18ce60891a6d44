ALTER TABLE rooms DROP COLUMN state_bytes;
