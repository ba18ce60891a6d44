DROP TABLE destination_rooms;
DROP TABLE destinations;
DROP TABLE sender_shards;
DELETE FROM reader_cursors WHERE reader = 'federation-sender';
