-- The place of a room in the order of a user's rooms, which positions of sliding sync count by: it must not move.
ALTER TABLE room_members ADD COLUMN first_seq bigint NOT NULL DEFAULT 0;
UPDATE room_members AS m SET first_seq = COALESCE(
    (SELECT min(e.seq) FROM events e
     WHERE e.room_nid = m.room_nid AND e.type = 'm.room.member' AND e.state_key = m.user_id AND e.seq IS NOT NULL),
    m.seq
);
COMMENT ON COLUMN room_members.first_seq IS 'Sequence number of the first member event by which the user had to do with the room; 0 if only a snapshot tells of the user.';

CREATE OR REPLACE VIEW current_members AS
SELECT m.room_nid, m.user_id, m.membership, m.event_nid, m.seq, m.forgotten, m.since_seq, m.first_seq
FROM room_members m JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot;
