CREATE TABLE federation_blocks (
    kind smallint NOT NULL,
    name text NOT NULL,
    reason text NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE federation_blocks IS 'Servers, users of other servers and rooms with which this server has nothing to do, because an operator said so.';
COMMENT ON COLUMN federation_blocks.kind IS '1: a server, 2: a user of another server, 3: a room.';
COMMENT ON COLUMN federation_blocks.name IS 'Server name, user ID, or room ID.';
COMMENT ON COLUMN federation_blocks.reason IS 'Why, for operators; empty if they did not say.';
COMMENT ON COLUMN federation_blocks.created_ts IS 'Since when, in milliseconds since the Unix epoch.';
