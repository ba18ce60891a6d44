CREATE TABLE out_of_band_memberships (
    user_id text NOT NULL,
    room_id text NOT NULL,
    membership text NOT NULL,
    event bytea NOT NULL,
    event_id text NOT NULL,
    sender text NOT NULL,
    origin text NOT NULL,
    room_version text NOT NULL,
    stripped_state bytea NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (user_id, room_id)
);
COMMENT ON TABLE out_of_band_memberships IS 'What users of this server are in rooms that it is not in, or was not when it was told: invites, knocks, and how they ended.';
COMMENT ON COLUMN out_of_band_memberships.user_id IS 'User of this server.';
COMMENT ON COLUMN out_of_band_memberships.room_id IS 'Room.';
COMMENT ON COLUMN out_of_band_memberships.membership IS 'invite, knock, leave or ban.';
COMMENT ON COLUMN out_of_band_memberships.event IS 'The member event, JSON.';
COMMENT ON COLUMN out_of_band_memberships.event_id IS 'Its event ID; empty for a leave that no server knows yet.';
COMMENT ON COLUMN out_of_band_memberships.sender IS 'Who sent it.';
COMMENT ON COLUMN out_of_band_memberships.origin IS 'Server that told it.';
COMMENT ON COLUMN out_of_band_memberships.room_version IS 'Room version.';
COMMENT ON COLUMN out_of_band_memberships.stripped_state IS 'The room as it is told to who is not in it: a JSON list of stripped state events.';
COMMENT ON COLUMN out_of_band_memberships.seq IS 'Sequence number of the output record that told it.';
