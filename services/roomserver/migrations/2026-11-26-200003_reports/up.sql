CREATE TABLE reports (
    reporter text NOT NULL,
    room_id text NOT NULL,
    event_id text NOT NULL,
    user_id text NOT NULL,
    reason text NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (reporter, room_id, event_id, user_id)
);
COMMENT ON TABLE reports IS 'What users have reported as inappropriate, for the operators. The last 1,000 of each user are kept.';
COMMENT ON COLUMN reports.reporter IS 'User who reported it.';
COMMENT ON COLUMN reports.room_id IS 'Room; empty if a user was reported.';
COMMENT ON COLUMN reports.event_id IS 'Event of the room; empty if the room as a whole or a user was reported.';
COMMENT ON COLUMN reports.user_id IS 'User who was reported; empty if a room or an event was.';
COMMENT ON COLUMN reports.reason IS 'Why, as the reporter put it; empty if they did not say.';
COMMENT ON COLUMN reports.created_ts IS 'When, in milliseconds since the Unix epoch.';
CREATE INDEX reports_time ON reports (reporter, created_ts);
