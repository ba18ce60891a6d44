-- Facts have the values of their events. Who does not ask for them reads no events: the join is to a primary key.
CREATE OR REPLACE VIEW current_facts AS
SELECT f.room_nid, f.type, f.state_key, f.event_nid, e.value
FROM room_facts f JOIN rooms r ON r.room_nid = f.room_nid AND r.snapshot = f.snapshot
LEFT JOIN events e ON e.event_nid = f.event_nid;
COMMENT ON COLUMN current_facts.value IS 'What queries look at in the content of the event, as in events.value.';
