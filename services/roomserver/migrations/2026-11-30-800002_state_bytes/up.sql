ALTER TABLE rooms ADD COLUMN state_bytes bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN rooms.state_bytes IS 'Bytes of the entries of the current state that users of this server sent; of a member event, those over 1,024.';
-- The last event of each key stands for the entry: where a conflict was resolved otherwise, the sum is off by the difference.
UPDATE rooms r SET state_bytes = s.bytes
FROM (
    SELECT l.room_nid, sum(CASE l.type WHEN 'm.room.member' THEN greatest(l.size - 1024, 0) ELSE l.size END) AS bytes
    FROM (
        SELECT DISTINCT ON (e.room_nid, e.type, e.state_key)
            e.room_nid, e.type, e.flags, octet_length(j.json)::bigint AS size
        FROM events e JOIN event_json j ON j.event_nid = e.event_nid
        WHERE e.state_key IS NOT NULL AND e.seq > 0 AND e.flags & 7 = 0
        ORDER BY e.room_nid, e.type, e.state_key, e.seq DESC
    ) l
    WHERE l.flags & 16 <> 0
    GROUP BY l.room_nid
) s
WHERE s.room_nid = r.room_nid AND s.bytes > 0;
