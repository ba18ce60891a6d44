CREATE TABLE receipts (
    room_nid bigint NOT NULL,
    user_id text NOT NULL,
    receipt_type text NOT NULL,
    thread_id text NOT NULL,
    event_id text NOT NULL,
    event_seq bigint NOT NULL,
    ts bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (room_nid, user_id, receipt_type, thread_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE receipts IS 'How far members have read.';
COMMENT ON COLUMN receipts.room_nid IS 'Room.';
COMMENT ON COLUMN receipts.user_id IS 'User who has read.';
COMMENT ON COLUMN receipts.receipt_type IS 'm.read or m.read.private.';
COMMENT ON COLUMN receipts.thread_id IS 'Thread root, or main; empty for a receipt that regards no threads.';
COMMENT ON COLUMN receipts.event_id IS 'Event up to and including which everything was read.';
COMMENT ON COLUMN receipts.event_seq IS 'Sequence number of the event''s output record.';
COMMENT ON COLUMN receipts.ts IS 'When, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN receipts.seq IS 'Sequence number of the receipt''s output record.';

-- Since when, not only what: notifications are counted from there, however often a member changes their name since.
ALTER TABLE current_members ADD COLUMN since_seq bigint NOT NULL DEFAULT 0;
UPDATE current_members SET since_seq = seq;
COMMENT ON COLUMN current_members.since_seq IS 'Sequence number of the member event that gave the user this membership; later ones may have changed the rest of it.';
