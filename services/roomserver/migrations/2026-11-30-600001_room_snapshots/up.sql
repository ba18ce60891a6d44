-- What a snapshot tells of members and facts lies under its token, and counts from the join that uses it: the row of the
-- room names it. Whoever reads asks the views, which have the names that the tables had.
--
-- Which snapshot had told what was not kept until now, so joins that are under way have to send theirs again.
DELETE FROM current_members AS m USING rooms AS r WHERE r.room_nid = m.room_nid AND cardinality(r.latest_nids) = 0;
DELETE FROM current_facts AS f USING rooms AS r WHERE r.room_nid = f.room_nid AND cardinality(r.latest_nids) = 0;
DELETE FROM snapshot_chunks AS s USING rooms AS r WHERE r.room_nid = s.room_nid AND cardinality(r.latest_nids) = 0;

ALTER TABLE rooms ADD COLUMN snapshot bytea NOT NULL DEFAULT '';
COMMENT ON COLUMN rooms.snapshot IS 'Token of the snapshot by which this server joined: of room_members and room_facts, the rows under it count. Empty for a room that was made here.';
COMMENT ON COLUMN rooms.latest_nids IS 'Forward extremities; empty while the room is only being joined.';

ALTER TABLE current_members RENAME TO room_members;
ALTER TABLE room_members ADD COLUMN snapshot bytea NOT NULL DEFAULT '';
ALTER TABLE room_members DROP CONSTRAINT current_members_pkey;
ALTER TABLE room_members ADD CONSTRAINT room_members_pkey PRIMARY KEY (room_nid, snapshot, user_id);
ALTER INDEX current_members_user RENAME TO room_members_user;
COMMENT ON TABLE room_members IS 'Memberships of everybody who ever had one, and those that snapshots tell which are not used yet, or never will be. Read through current_members.';
COMMENT ON COLUMN room_members.snapshot IS 'Token of the snapshot under which the row lies; it counts if rooms.snapshot is the same.';

ALTER TABLE current_facts RENAME TO room_facts;
ALTER TABLE room_facts ADD COLUMN snapshot bytea NOT NULL DEFAULT '';
ALTER TABLE room_facts DROP CONSTRAINT current_facts_pkey;
ALTER TABLE room_facts ADD CONSTRAINT room_facts_pkey PRIMARY KEY (room_nid, snapshot, type, state_key);
COMMENT ON TABLE room_facts IS 'State entries that tell what a room is and which rooms a space has, also those that snapshots tell which are not used yet, or never will be. Read through current_facts.';
COMMENT ON COLUMN room_facts.snapshot IS 'Token of the snapshot under which the row lies; it counts if rooms.snapshot is the same.';

CREATE VIEW current_members AS
SELECT m.room_nid, m.user_id, m.membership, m.event_nid, m.seq, m.forgotten, m.since_seq
FROM room_members m JOIN rooms r ON r.room_nid = m.room_nid AND r.snapshot = m.snapshot;
COMMENT ON VIEW current_members IS 'Current membership of everybody who ever had one, for listing by room and by user.';

CREATE VIEW current_facts AS
SELECT f.room_nid, f.type, f.state_key, f.event_nid
FROM room_facts f JOIN rooms r ON r.room_nid = f.room_nid AND r.snapshot = f.snapshot;
COMMENT ON VIEW current_facts IS 'Entries of the current state that tell what a room is and which rooms a space has, for reading many rooms at once.';
