DROP VIEW current_facts;
CREATE VIEW current_facts AS
SELECT f.room_nid, f.type, f.state_key, f.event_nid
FROM room_facts f JOIN rooms r ON r.room_nid = f.room_nid AND r.snapshot = f.snapshot;
COMMENT ON VIEW current_facts IS 'Entries of the current state that tell what a room is and which rooms a space has, for reading many rooms at once.';
