ALTER TABLE accounts ADD COLUMN profile_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN accounts.profile_version IS 'Sequence number of the last change of the display name or the avatar; 0 if there was none since this was counted.';
ALTER TABLE room_members ADD COLUMN profile_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN room_members.profile_version IS 'Version of the user''s profile with which the member event was last compared.';

CREATE TABLE member_jobs (
    user_id text NOT NULL,
    kind smallint NOT NULL,
    partition smallint NOT NULL,
    version bigint NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (user_id, kind)
);
CREATE INDEX member_jobs_partition ON member_jobs (partition);
COMMENT ON TABLE member_jobs IS 'What is to be done in all rooms of a user. It goes when no room is left, some time after it began.';
COMMENT ON COLUMN member_jobs.user_id IS 'User of this server.';
COMMENT ON COLUMN member_jobs.kind IS '1: member events get the name and the avatar of the profile, 2: the user leaves.';
COMMENT ON COLUMN member_jobs.partition IS 'Partition of the user.';
COMMENT ON COLUMN member_jobs.version IS 'Version of the profile: member events that were compared with an older one are left to do.';
COMMENT ON COLUMN member_jobs.created_ts IS 'When it began, in milliseconds since the Unix epoch.';
