CREATE TABLE room_servers (
    room_nid bigint NOT NULL,
    snapshot bytea NOT NULL,
    server text NOT NULL,
    joined integer NOT NULL,
    PRIMARY KEY (room_nid, snapshot, server)
) WITH (fillfactor = 80);
COMMENT ON TABLE room_servers IS 'Servers that have or had joined members in rooms, also those that snapshots tell which are not used yet, or never will be. Follows room_members in the same transaction.';
COMMENT ON COLUMN room_servers.room_nid IS 'Room.';
COMMENT ON COLUMN room_servers.snapshot IS 'Token of the snapshot under which the row lies, as in room_members; it counts if rooms.snapshot is the same.';
COMMENT ON COLUMN room_servers.server IS 'Server: what follows the first colon of the user IDs.';
COMMENT ON COLUMN room_servers.joined IS 'How many of its users are joined; 0 if all have left.';
INSERT INTO room_servers (room_nid, snapshot, server, joined)
SELECT room_nid, snapshot, substr(user_id, strpos(user_id, ':') + 1) AS server, count(*)
FROM room_members WHERE membership = 'join' GROUP BY room_nid, snapshot, server;

CREATE INDEX room_members_server ON room_members (room_nid, snapshot, substr(user_id, strpos(user_id, ':') + 1), user_id);
