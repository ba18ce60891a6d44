DROP TABLE member_jobs;
ALTER TABLE room_members DROP COLUMN profile_version;
ALTER TABLE accounts DROP COLUMN profile_version;
