CREATE TABLE event_relations (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    event_id text NOT NULL,
    relates_to_id text NOT NULL,
    rel_type text NOT NULL,
    type text NOT NULL,
    sender text NOT NULL,
    origin_server_ts bigint NOT NULL,
    seq bigint NOT NULL,
    replaces boolean NOT NULL
);
COMMENT ON TABLE event_relations IS 'Which event relates to which. A relation goes when the event that made it is redacted.';
COMMENT ON COLUMN event_relations.event_nid IS 'The event that relates to another one.';
COMMENT ON COLUMN event_relations.room_nid IS 'Room of the event; a relation to an event of another room is none.';
COMMENT ON COLUMN event_relations.event_id IS 'Event ID of the event.';
COMMENT ON COLUMN event_relations.relates_to_id IS 'Event ID of the event it relates to, which need not be known yet.';
COMMENT ON COLUMN event_relations.rel_type IS 'Relation type.';
COMMENT ON COLUMN event_relations.type IS 'Event type of the event.';
COMMENT ON COLUMN event_relations.sender IS 'Sender of the event.';
COMMENT ON COLUMN event_relations.origin_server_ts IS 'When its server says it was sent, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN event_relations.seq IS 'Sequence number of its output record.';
COMMENT ON COLUMN event_relations.replaces IS 'Whether it can stand in for another event: it has new content, or is encrypted, and is no state event.';
-- Finding events by time.
CREATE INDEX events_time ON events (room_nid, origin_server_ts, seq) WHERE seq IS NOT NULL;
-- The children of an event in the order of the timeline.
CREATE INDEX event_relations_target ON event_relations (room_nid, relates_to_id, seq);
-- What one user made of an event: edits, newest last, participation in threads, annotations.
CREATE INDEX event_relations_sender ON event_relations (room_nid, relates_to_id, rel_type, sender, origin_server_ts);

CREATE TABLE threads (
    room_nid bigint NOT NULL,
    root_id text NOT NULL,
    replies bigint NOT NULL,
    latest_nid bigint NOT NULL,
    latest_seq bigint NOT NULL,
    PRIMARY KEY (room_nid, root_id)
);
COMMENT ON TABLE threads IS 'What is told of threads without counting their events. Kept when the last reply is redacted, with no replies.';
COMMENT ON COLUMN threads.room_nid IS 'Room.';
COMMENT ON COLUMN threads.root_id IS 'Event ID of the thread root, which need not be known yet.';
COMMENT ON COLUMN threads.replies IS 'How many events relate to the root with m.thread.';
COMMENT ON COLUMN threads.latest_nid IS 'The latest of them; 0 if there is none.';
COMMENT ON COLUMN threads.latest_seq IS 'Its sequence number; 0 if there is none.';
CREATE INDEX threads_latest ON threads (room_nid, latest_seq);

-- Relations of the events that are here already.
INSERT INTO event_relations
SELECT event_nid, room_nid, event_id, relates_to_id, rel_type, type, sender, origin_server_ts, seq,
    rel_type = 'm.replace' AND state_key IS NULL AND (new_content = 'object' OR type = 'm.room.encrypted')
FROM (
    SELECT e.event_nid, e.room_nid, e.event_id, e.type, e.state_key, e.sender, e.origin_server_ts, e.seq,
        j.json #>> '{content,m.relates_to,event_id}' AS relates_to_id,
        j.json #>> '{content,m.relates_to,rel_type}' AS rel_type,
        json_typeof(j.json #> '{content,m.new_content}') AS new_content
    FROM events e
    JOIN (
        SELECT event_nid, convert_from(json, 'UTF8')::json AS json FROM event_json
        WHERE position('m.relates_to'::bytea IN json) > 0 AND position('\\u0000'::bytea IN json) = 0
    ) j ON j.event_nid = e.event_nid
    WHERE e.seq IS NOT NULL AND e.flags & 15 = 0
) AS found
WHERE relates_to_id LIKE '$%' AND octet_length(relates_to_id) <= 255 AND octet_length(rel_type) <= 255;

INSERT INTO threads
SELECT room_nid, relates_to_id, count(*), (array_agg(event_nid ORDER BY seq DESC))[1], max(seq)
FROM event_relations WHERE rel_type = 'm.thread' GROUP BY room_nid, relates_to_id;
