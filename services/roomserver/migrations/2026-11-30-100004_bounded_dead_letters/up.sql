-- What is set aside is bounded by whom it is of, so it has to be told.
ALTER TABLE dead_letters ADD COLUMN key text NOT NULL DEFAULT '';
COMMENT ON COLUMN dead_letters.key IS 'Room ID or user ID of the record; empty if it has none.';
COMMENT ON TABLE dead_letters IS 'Input records that can never be processed, with the reason: the newest, as many as store::bounds allows.';
COMMENT ON TABLE state_resets IS 'Alarms: a key of the current state changed although no event says so. The newest, as many as store::bounds allows.';
