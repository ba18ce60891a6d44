DROP VIEW current_members, current_facts;
DELETE FROM room_members AS m USING rooms AS r
WHERE r.room_nid = m.room_nid AND (r.snapshot <> m.snapshot OR cardinality(r.latest_nids) = 0);
DELETE FROM room_facts AS f USING rooms AS r
WHERE r.room_nid = f.room_nid AND (r.snapshot <> f.snapshot OR cardinality(r.latest_nids) = 0);
DELETE FROM snapshot_chunks AS s USING rooms AS r WHERE r.room_nid = s.room_nid AND cardinality(r.latest_nids) = 0;

ALTER TABLE room_facts DROP CONSTRAINT room_facts_pkey;
ALTER TABLE room_facts DROP COLUMN snapshot;
ALTER TABLE room_facts RENAME TO current_facts;
ALTER TABLE current_facts ADD CONSTRAINT current_facts_pkey PRIMARY KEY (room_nid, type, state_key);

ALTER TABLE room_members DROP CONSTRAINT room_members_pkey;
ALTER TABLE room_members DROP COLUMN snapshot;
ALTER TABLE room_members RENAME TO current_members;
ALTER TABLE current_members ADD CONSTRAINT current_members_pkey PRIMARY KEY (room_nid, user_id);
ALTER INDEX room_members_user RENAME TO current_members_user;

ALTER TABLE rooms DROP COLUMN snapshot;
