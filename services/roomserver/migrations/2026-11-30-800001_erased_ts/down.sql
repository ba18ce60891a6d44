DROP INDEX accounts_erased_idx;
ALTER TABLE accounts ADD COLUMN erased boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN accounts.erased IS 'Whether the user asked to be erased.';
UPDATE accounts SET erased = true WHERE erased_ts IS NOT NULL;
ALTER TABLE accounts DROP COLUMN erased_ts;
