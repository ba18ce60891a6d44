ALTER TABLE accounts ADD COLUMN erased_ts bigint;
COMMENT ON COLUMN accounts.erased_ts IS 'When the user asked to be erased, in milliseconds since the Unix epoch; NULL if they did not.';
-- Of earlier requests the time is not known: those who were not in the room at an event get it redacted.
UPDATE accounts SET erased_ts = 0 WHERE erased;
ALTER TABLE accounts DROP COLUMN erased;
-- Looked up for the sender of every event that is read; few have asked.
CREATE INDEX accounts_erased_idx ON accounts (user_id) WHERE erased_ts IS NOT NULL;
