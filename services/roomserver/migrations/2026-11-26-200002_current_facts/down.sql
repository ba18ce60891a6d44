DROP INDEX rooms_published;
CREATE INDEX rooms_published ON rooms (room_nid) WHERE published;
DROP TABLE current_facts;
