CREATE TABLE current_facts (
    room_nid bigint NOT NULL,
    type text NOT NULL,
    state_key text NOT NULL,
    event_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, type, state_key)
);
COMMENT ON TABLE current_facts IS 'Entries of the current state that tell what a room is and which rooms a space has, for reading many rooms at once.';
COMMENT ON COLUMN current_facts.room_nid IS 'Room.';
COMMENT ON COLUMN current_facts.type IS 'Event type.';
COMMENT ON COLUMN current_facts.state_key IS 'State key.';
COMMENT ON COLUMN current_facts.event_nid IS 'The event that holds it.';

-- Rooms that are here already: the last state event of a key holds it, as their event graphs are lines.
INSERT INTO current_facts
SELECT DISTINCT ON (room_nid, type, state_key) room_nid, type, state_key, event_nid
FROM events
WHERE seq IS NOT NULL AND flags & 7 = 0
    AND (type = 'm.space.child' AND state_key IS NOT NULL
        OR state_key = '' AND type IN (
            'm.room.create', 'm.room.name', 'm.room.topic', 'm.room.avatar', 'm.room.canonical_alias',
            'm.room.join_rules', 'm.room.guest_access', 'm.room.history_visibility', 'm.room.encryption'))
ORDER BY room_nid, type, state_key, seq DESC;

-- The directory is read by the number of members.
DROP INDEX rooms_published;
CREATE INDEX rooms_published ON rooms (joined_members, room_id) WHERE published;
