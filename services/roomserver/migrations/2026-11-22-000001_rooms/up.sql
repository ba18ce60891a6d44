-- Who works on a partition, how far it is, and what it hands out next. Compared and set in every batch's transaction:
-- it is the offset store, the fence against a stale owner, and the sequence, in one row.
CREATE TABLE partition_state (
    partition smallint PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    room_offset bigint NOT NULL DEFAULT 0,
    room_input_id bytea,
    user_offset bigint NOT NULL DEFAULT 0,
    user_input_id bytea,
    next_room_seq bigint NOT NULL DEFAULT 1,
    next_user_seq bigint NOT NULL DEFAULT 1,
    next_nid bigint NOT NULL,
    room_published_seq bigint NOT NULL DEFAULT 0,
    user_published_seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE partition_state IS 'One row per partition: ownership, positions in the input logs, counters of the output logs.';
COMMENT ON COLUMN partition_state.epoch IS 'Raised by every change of owner; a batch commits only under the epoch it began with.';
COMMENT ON COLUMN partition_state.owner IS 'Address of the owner''s gRPC listener; empty if nobody owns it.';
COMMENT ON COLUMN partition_state.room_offset IS 'Next offset of InputRoomEvent to process.';
COMMENT ON COLUMN partition_state.room_input_id IS 'input_id of the record before room_offset: tells whether the log is still the same one.';
COMMENT ON COLUMN partition_state.user_offset IS 'Next offset of InputUserEvent to process.';
COMMENT ON COLUMN partition_state.user_input_id IS 'input_id of the record before user_offset.';
COMMENT ON COLUMN partition_state.next_room_seq IS 'Next sequence number of OutputRoomEvent.';
COMMENT ON COLUMN partition_state.next_user_seq IS 'Next sequence number of OutputUserEvent.';
COMMENT ON COLUMN partition_state.next_nid IS 'Next numeric ID: partition in the upper 12 bits, a counter in the lower 51.';
COMMENT ON COLUMN partition_state.room_published_seq IS 'Last sequence number known to be in OutputRoomEvent; later ones are published again after a failover.';
COMMENT ON COLUMN partition_state.user_published_seq IS 'Last sequence number known to be in OutputUserEvent.';
INSERT INTO partition_state (partition, next_nid)
SELECT p, (p::bigint << 51) + 1 FROM generate_series(0, 63) AS p;

CREATE TABLE rooms (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL UNIQUE,
    partition smallint NOT NULL,
    version text NOT NULL,
    create_nid bigint NOT NULL,
    latest_nids bigint[] NOT NULL,
    members_root bigint NOT NULL,
    other_root bigint NOT NULL,
    depth bigint NOT NULL,
    last_seq bigint NOT NULL,
    joined_members integer NOT NULL DEFAULT 0,
    invited_members integer NOT NULL DEFAULT 0,
    published boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
COMMENT ON TABLE rooms IS 'Rooms this server is in: the front of the event graph and the current state.';
COMMENT ON COLUMN rooms.room_nid IS 'Numeric ID of the room.';
COMMENT ON COLUMN rooms.room_id IS 'Room ID.';
COMMENT ON COLUMN rooms.partition IS 'Partition of the room ID.';
COMMENT ON COLUMN rooms.version IS 'Room version.';
COMMENT ON COLUMN rooms.create_nid IS 'The m.room.create event.';
COMMENT ON COLUMN rooms.latest_nids IS 'Forward extremities; never empty.';
COMMENT ON COLUMN rooms.members_root IS 'Root of the trie of current m.room.member events; 0 if empty.';
COMMENT ON COLUMN rooms.other_root IS 'Root of the trie of all other current state; 0 if empty.';
COMMENT ON COLUMN rooms.depth IS 'Depth of the deepest event.';
COMMENT ON COLUMN rooms.last_seq IS 'Sequence number of the last output record of the room.';
COMMENT ON COLUMN rooms.joined_members IS 'Members joined now.';
COMMENT ON COLUMN rooms.invited_members IS 'Members invited now.';
COMMENT ON COLUMN rooms.published IS 'Whether the room is listed in the directory.';
CREATE INDEX rooms_published ON rooms (room_nid) WHERE published;

CREATE TABLE events (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    event_id text NOT NULL UNIQUE,
    type text NOT NULL,
    state_key text,
    sender text NOT NULL,
    depth bigint NOT NULL,
    origin_server_ts bigint NOT NULL,
    received_ts bigint NOT NULL,
    flags integer NOT NULL,
    visibility smallint NOT NULL,
    auth_generation integer NOT NULL,
    auth_nids bigint[] NOT NULL,
    prev_nids bigint[] NOT NULL,
    members_root bigint NOT NULL,
    other_root bigint NOT NULL,
    replaces_nid bigint,
    seq bigint,
    txn_device_id text,
    txn_id text
);
COMMENT ON TABLE events IS 'Every event this server has stored, without its JSON.';
COMMENT ON COLUMN events.event_nid IS 'Numeric ID, in order of arrival within a partition.';
COMMENT ON COLUMN events.room_nid IS 'Room.';
COMMENT ON COLUMN events.event_id IS 'Event ID.';
COMMENT ON COLUMN events.type IS 'Event type.';
COMMENT ON COLUMN events.state_key IS 'State key; null for a message event.';
COMMENT ON COLUMN events.sender IS 'Sender.';
COMMENT ON COLUMN events.depth IS 'Depth.';
COMMENT ON COLUMN events.origin_server_ts IS 'When its server says it was sent, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN events.received_ts IS 'When it was written to the input log, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN events.flags IS 'Bits: 1 rejected, 2 soft-failed, 4 outlier, 8 redacted, 16 sent by a user of this server.';
COMMENT ON COLUMN events.visibility IS 'History visibility for the event: 1 joined, 2 invited, 3 shared, 4 world_readable.';
COMMENT ON COLUMN events.auth_generation IS '1 + the greatest generation of its auth events; 0 for the create event.';
COMMENT ON COLUMN events.auth_nids IS 'Auth events.';
COMMENT ON COLUMN events.prev_nids IS 'Previous events.';
COMMENT ON COLUMN events.members_root IS 'Root of the members'' trie after the event; 0 if empty.';
COMMENT ON COLUMN events.other_root IS 'Root of the trie of other state after the event; 0 if empty.';
COMMENT ON COLUMN events.replaces_nid IS 'For a state event: the event that held its key before it. State before = state after with this put back.';
COMMENT ON COLUMN events.seq IS 'Sequence number of its output record; null if it was not put out.';
COMMENT ON COLUMN events.txn_device_id IS 'Device whose transaction made it.';
COMMENT ON COLUMN events.txn_id IS 'Transaction ID of the client.';
CREATE INDEX events_timeline ON events (room_nid, seq) WHERE seq IS NOT NULL;
-- The history of one user's membership in a room, by which history visibility is decided.
CREATE INDEX events_members ON events (room_nid, state_key, seq) WHERE type = 'm.room.member';

CREATE TABLE event_json (
    event_nid bigint PRIMARY KEY,
    json bytea NOT NULL
);
ALTER TABLE event_json ALTER COLUMN json SET STORAGE EXTERNAL;
COMMENT ON TABLE event_json IS 'The JSON of events, apart from what queries filter by.';
COMMENT ON COLUMN event_json.event_nid IS 'Event.';
COMMENT ON COLUMN event_json.json IS 'Canonical JSON with signatures; rewritten when the event is redacted.';

CREATE TABLE state_node (
    room_nid bigint NOT NULL,
    node_nid bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (room_nid, node_nid)
);
COMMENT ON TABLE state_node IS 'Nodes of the state tries. They never change and are only deleted with their room.';
COMMENT ON COLUMN state_node.room_nid IS 'Room.';
COMMENT ON COLUMN state_node.node_nid IS 'Numeric ID of the node.';
COMMENT ON COLUMN state_node.body IS 'The node, encoded by rooms::trie.';

CREATE TABLE current_members (
    room_nid bigint NOT NULL,
    user_id text NOT NULL,
    membership text NOT NULL,
    event_nid bigint NOT NULL,
    seq bigint NOT NULL,
    forgotten boolean NOT NULL DEFAULT false,
    PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX current_members_user ON current_members (user_id, membership);
COMMENT ON TABLE current_members IS 'Current membership of everybody who ever had one, for listing by room and by user.';
COMMENT ON COLUMN current_members.room_nid IS 'Room.';
COMMENT ON COLUMN current_members.user_id IS 'User.';
COMMENT ON COLUMN current_members.membership IS 'join, invite, leave, ban or knock.';
COMMENT ON COLUMN current_members.event_nid IS 'The member event.';
COMMENT ON COLUMN current_members.seq IS 'Sequence number of its output record.';
COMMENT ON COLUMN current_members.forgotten IS 'Whether the user has forgotten the room.';

CREATE TABLE redactions (
    redacts_id text NOT NULL,
    redaction_nid bigint NOT NULL,
    room_nid bigint NOT NULL,
    applied boolean NOT NULL,
    PRIMARY KEY (redacts_id, redaction_nid)
);
COMMENT ON TABLE redactions IS 'Redaction events and what they redact, also before the target has arrived.';
COMMENT ON COLUMN redactions.redacts_id IS 'Event ID of the target.';
COMMENT ON COLUMN redactions.redaction_nid IS 'The redaction event.';
COMMENT ON COLUMN redactions.room_nid IS 'Room of the redaction event.';
COMMENT ON COLUMN redactions.applied IS 'Whether it took effect.';

CREATE TABLE aliases (
    alias text PRIMARY KEY,
    room_id text NOT NULL,
    creator text NOT NULL,
    created_ts bigint NOT NULL
);
CREATE INDEX aliases_room ON aliases (room_id);
COMMENT ON TABLE aliases IS 'Local room aliases.';
COMMENT ON COLUMN aliases.alias IS 'Full alias.';
COMMENT ON COLUMN aliases.room_id IS 'Room it points at.';
COMMENT ON COLUMN aliases.creator IS 'User who created it.';
COMMENT ON COLUMN aliases.created_ts IS 'When, in milliseconds since the Unix epoch.';

CREATE TABLE output_log (
    partition smallint NOT NULL,
    seq bigint NOT NULL,
    event_nid bigint,
    body bytea NOT NULL,
    PRIMARY KEY (partition, seq)
);
COMMENT ON TABLE output_log IS 'The output log of rooms: outbox for OutputRoomEvent and what StreamRange reads. Contiguous by partition.';
COMMENT ON COLUMN output_log.partition IS 'Partition.';
COMMENT ON COLUMN output_log.seq IS 'Sequence number, from 1.';
COMMENT ON COLUMN output_log.event_nid IS 'Event whose JSON belongs into the record; null if the record needs none.';
COMMENT ON COLUMN output_log.body IS 'plexus.log.v1.OutputRoomEvent without the event''s JSON.';

CREATE TABLE verdicts (
    key bytea PRIMARY KEY,
    partition smallint NOT NULL,
    verdict bytea NOT NULL,
    created_ts bigint NOT NULL
);
CREATE INDEX verdicts_created ON verdicts USING brin (created_ts);
COMMENT ON TABLE verdicts IS 'What became of inputs: makes repeats harmless and answers AwaitInput after a failover. Kept for a day.';
COMMENT ON COLUMN verdicts.key IS 'input_id of the input (16 bytes), or the first 16 bytes of the SHA-256 of the client''s transaction.';
COMMENT ON COLUMN verdicts.partition IS 'Partition.';
COMMENT ON COLUMN verdicts.verdict IS 'plexus.input.v1.Verdict.';
COMMENT ON COLUMN verdicts.created_ts IS 'produced_ts of the input, in milliseconds since the Unix epoch.';

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition smallint NOT NULL,
    log_offset bigint NOT NULL,
    error text NOT NULL,
    payload bytea NOT NULL,
    created_ts bigint NOT NULL
);
COMMENT ON TABLE dead_letters IS 'Input records that can never be processed, with the reason.';
COMMENT ON COLUMN dead_letters.id IS 'Number of the entry.';
COMMENT ON COLUMN dead_letters.topic IS 'Topic.';
COMMENT ON COLUMN dead_letters.partition IS 'Partition.';
COMMENT ON COLUMN dead_letters.log_offset IS 'Offset.';
COMMENT ON COLUMN dead_letters.error IS 'Why.';
COMMENT ON COLUMN dead_letters.payload IS 'The record as read.';
COMMENT ON COLUMN dead_letters.created_ts IS 'When it was set aside, in milliseconds since the Unix epoch.';
