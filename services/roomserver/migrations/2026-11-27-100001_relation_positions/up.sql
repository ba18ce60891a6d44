-- Threads with replies from before the timeline alone had no latest reply.
UPDATE threads t SET latest_nid = l.event_nid, latest_seq = l.seq
FROM (
    SELECT DISTINCT ON (room_nid, relates_to_id) room_nid, relates_to_id, event_nid, seq
    FROM event_relations WHERE rel_type = 'm.thread' AND seq < 0
    ORDER BY room_nid, relates_to_id, seq DESC
) l
WHERE t.latest_nid = 0 AND t.replies > 0 AND t.room_nid = l.room_nid AND t.root_id = l.relates_to_id;
COMMENT ON COLUMN event_relations.seq IS 'Its place in the timeline, as in events: negative before the timeline.';
COMMENT ON COLUMN threads.latest_seq IS 'Its place in the timeline, negative before it; 0 if there is none.';
