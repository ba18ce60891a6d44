CREATE TABLE db_generation (
    is_here boolean PRIMARY KEY DEFAULT true CHECK (is_here),
    generation bigint NOT NULL,
    raised_ts bigint NOT NULL
);
COMMENT ON TABLE db_generation IS 'One row: which life of the database this is. A restore from a backup begins another one, in which sequence numbers are given out again.';
COMMENT ON COLUMN db_generation.is_here IS 'True: there is one row.';
COMMENT ON COLUMN db_generation.generation IS 'Number of the generation, raised by an operator after a restore. Sync tokens name it.';
COMMENT ON COLUMN db_generation.raised_ts IS 'When it was raised, in milliseconds since the Unix epoch; 0 for the first.';
INSERT INTO db_generation (generation, raised_ts) VALUES (1, 0);
