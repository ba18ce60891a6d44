DROP TABLE purged_rooms;
