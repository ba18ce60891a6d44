DROP VIEW current_members;
CREATE VIEW current_members AS
SELECT m.room_nid, m.user_id, m.membership, m.event_nid, m.seq, m.forgotten, m.since_seq
FROM room_members m JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot;
COMMENT ON VIEW current_members IS 'Current membership of everybody who ever had one, for listing by room and by user.';
ALTER TABLE room_members DROP COLUMN first_seq;
