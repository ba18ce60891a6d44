-- What queries look at in events is written beside them, so that none reads their JSON: Postgres takes no text with
-- U+0000 out of JSON, and one such event would fail the query for all others.
-- It is null for what is stored already; store::backfill fills it in when all migrations have run.
ALTER TABLE events ADD COLUMN value text;
COMMENT ON COLUMN events.value IS 'What queries look at in the content: the membership of a member event; name, topic, alias, type, rule or visibility of those events that tell what a room is. U+0000 is replaced, and what is long is cut off.';

CREATE TABLE backfills (
    name text PRIMARY KEY,
    position text NOT NULL
);
COMMENT ON TABLE backfills IS 'Columns and tables that are still to be filled from what is stored. A row goes when its work is done.';
COMMENT ON COLUMN backfills.name IS 'What is to be filled: see store::backfill.';
COMMENT ON COLUMN backfills.position IS 'Up to which key that is done.';
INSERT INTO backfills (name, position) SELECT 'event_values', '0' WHERE EXISTS (SELECT FROM events);
