DROP INDEX rooms_published;
CREATE INDEX rooms_published ON rooms (joined_members, room_id) WHERE published;
ALTER TABLE partition_state DROP COLUMN published_rooms;
