DROP INDEX room_members_server;
DROP TABLE room_servers;
