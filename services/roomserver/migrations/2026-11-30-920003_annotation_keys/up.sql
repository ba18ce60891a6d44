ALTER TABLE event_relations ADD COLUMN annotation_key bytea;
COMMENT ON COLUMN event_relations.annotation_key IS 'First half of the SHA-256 of the key of an annotation that is no state event.';
-- JSON with a NUL is left alone: functions of Postgres cannot take it.
UPDATE event_relations r SET annotation_key = substring(sha256(convert_to(k.key, 'UTF8')) FROM 1 FOR 16)
FROM (
    SELECT j.event_nid,
        CASE WHEN position('\\u0000'::bytea IN j.json) = 0
            THEN convert_from(j.json, 'UTF8')::json #>> '{content,m.relates_to,key}' END AS key
    FROM event_json j JOIN event_relations a ON a.event_nid = j.event_nid AND a.rel_type = 'm.annotation'
    JOIN events e ON e.event_nid = j.event_nid AND e.state_key IS NULL
) AS k
WHERE r.event_nid = k.event_nid AND k.key IS NOT NULL;

ALTER TABLE account_data ADD COLUMN position bigint;
COMMENT ON COLUMN account_data.position IS 'How far the content reaches, if it only moves forward: the place in the timeline of the event that it names.';
UPDATE account_data d SET position = e.seq
FROM (
    SELECT user_id, room_id,
        CASE WHEN position('\\u0000'::bytea IN content) = 0
            THEN convert_from(content, 'UTF8')::json ->> 'event_id' END AS event_id
    FROM account_data WHERE type = 'm.fully_read'
) AS m
JOIN events e ON e.event_id = m.event_id
WHERE d.type = 'm.fully_read' AND d.user_id = m.user_id AND d.room_id = m.room_id;
