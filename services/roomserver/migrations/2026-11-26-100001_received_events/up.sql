-- The bulk lane: chunks of joins and backfill, never in front of live traffic.
ALTER TABLE partition_state
    ADD COLUMN bulk_offset bigint NOT NULL DEFAULT 0,
    ADD COLUMN bulk_input_id bytea;
COMMENT ON COLUMN partition_state.bulk_offset IS 'Next offset of InputRoomEventBulk to process.';
COMMENT ON COLUMN partition_state.bulk_input_id IS 'input_id of the record before bulk_offset.';

ALTER TABLE rooms
    ADD COLUMN parked integer NOT NULL DEFAULT 0,
    ADD COLUMN forked boolean NOT NULL DEFAULT false,
    ADD COLUMN has_gaps boolean NOT NULL DEFAULT false,
    ADD COLUMN oldest_position bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN rooms.parked IS 'Events of the room that are parked.';
COMMENT ON COLUMN rooms.forked IS 'Whether the event graph has ever been other than a line: then the order of the log does not tell the state at an event.';
COMMENT ON COLUMN rooms.has_gaps IS 'Whether backward_refs has, or has had, rows of the room.';
COMMENT ON COLUMN rooms.oldest_position IS 'Position in the timeline of the oldest event that was put before it: negative, or 0 if there is none.';
COMMENT ON COLUMN rooms.latest_nids IS 'Forward extremities. Empty only while a room is being joined through another server: such a room is not to be seen yet.';
COMMENT ON COLUMN events.seq IS 'Place in the timeline: the sequence number of its output record, or a negative position for what was put before the timeline; null if it is not part of it.';

-- The current state differs from the state after the newest event where the event graph is forked.
CREATE TABLE room_states (
    room_nid bigint NOT NULL,
    seq bigint NOT NULL,
    members_root bigint NOT NULL,
    other_root bigint NOT NULL,
    PRIMARY KEY (room_nid, seq)
);
COMMENT ON TABLE room_states IS 'The current state of rooms after output records whose event has another state after it.';
COMMENT ON COLUMN room_states.room_nid IS 'Room.';
COMMENT ON COLUMN room_states.seq IS 'Sequence number of the output record.';
COMMENT ON COLUMN room_states.members_root IS 'Root of the trie of members; 0 if empty.';
COMMENT ON COLUMN room_states.other_root IS 'Root of the trie of other state; 0 if empty.';

CREATE TABLE parked (
    parked_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    partition smallint NOT NULL,
    event_id text NOT NULL,
    produced_ts bigint NOT NULL,
    attempts integer NOT NULL,
    record bytea NOT NULL
);
CREATE UNIQUE INDEX parked_event ON parked (room_nid, event_id);
CREATE INDEX parked_age ON parked (produced_ts);
COMMENT ON TABLE parked IS 'Events that cite events which this server lacks. They are applied when these arrive.';
COMMENT ON COLUMN parked.parked_nid IS 'Numeric ID, in the order of the input log.';
COMMENT ON COLUMN parked.room_nid IS 'Room.';
COMMENT ON COLUMN parked.partition IS 'Partition of the room.';
COMMENT ON COLUMN parked.event_id IS 'Event ID.';
COMMENT ON COLUMN parked.produced_ts IS 'When the input was produced, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN parked.attempts IS 'How often what is missing was asked for.';
COMMENT ON COLUMN parked.record IS 'plexus.log.v1.InputRoomEvent with the event.';

CREATE TABLE parked_on (
    parked_nid bigint NOT NULL REFERENCES parked ON DELETE CASCADE,
    missing_event_id text NOT NULL,
    is_prev boolean NOT NULL,
    PRIMARY KEY (parked_nid, missing_event_id)
);
COMMENT ON TABLE parked_on IS 'What parked events wait for.';
COMMENT ON COLUMN parked_on.parked_nid IS 'The parked event.';
COMMENT ON COLUMN parked_on.missing_event_id IS 'The event that is missing.';
COMMENT ON COLUMN parked_on.is_prev IS 'Whether it is cited as a previous event, so that the state at it must become known; else it is cited as an auth event only.';

CREATE TABLE backward_refs (
    room_nid bigint NOT NULL,
    event_id text NOT NULL,
    referrer_nid bigint NOT NULL,
    PRIMARY KEY (event_id, referrer_nid)
);
COMMENT ON TABLE backward_refs IS 'Previous events that this server lacks, of events that it has accepted all the same: where history can be filled in.';
COMMENT ON COLUMN backward_refs.room_nid IS 'Room.';
COMMENT ON COLUMN backward_refs.event_id IS 'The event that is missing.';
COMMENT ON COLUMN backward_refs.referrer_nid IS 'The event that cites it.';

CREATE TABLE snapshot_chunks (
    room_nid bigint NOT NULL,
    token bytea NOT NULL,
    chunk integer NOT NULL,
    entries bytea NOT NULL,
    created_ts bigint NOT NULL,
    PRIMARY KEY (room_nid, token, chunk)
);
COMMENT ON TABLE snapshot_chunks IS 'State of rooms as other servers told it, until the event arrives that it is the state before. Kept for a day.';
COMMENT ON COLUMN snapshot_chunks.room_nid IS 'Room.';
COMMENT ON COLUMN snapshot_chunks.token IS 'Names the snapshot.';
COMMENT ON COLUMN snapshot_chunks.chunk IS 'Number of the chunk, from 0.';
COMMENT ON COLUMN snapshot_chunks.entries IS 'State entries, encoded by rooms::snapshot.';
COMMENT ON COLUMN snapshot_chunks.created_ts IS 'When the input was produced, in milliseconds since the Unix epoch.';

CREATE TABLE decisions (
    event_id text PRIMARY KEY,
    room_nid bigint NOT NULL,
    event_nid bigint,
    stage text NOT NULL,
    rule text NOT NULL,
    decided_ts bigint NOT NULL
);
COMMENT ON TABLE decisions IS 'Why events were rejected or soft-failed.';
COMMENT ON COLUMN decisions.event_id IS 'Event ID.';
COMMENT ON COLUMN decisions.room_nid IS 'Room.';
COMMENT ON COLUMN decisions.event_nid IS 'The event; null if it was not stored.';
COMMENT ON COLUMN decisions.stage IS 'Which check: auth_events, state_before or current_state; or missing, for an event that was parked and given up.';
COMMENT ON COLUMN decisions.rule IS 'The rule that failed.';
COMMENT ON COLUMN decisions.decided_ts IS 'produced_ts of the input, in milliseconds since the Unix epoch.';

CREATE TABLE state_resets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_nid bigint NOT NULL,
    event_nid bigint NOT NULL,
    lost_nid bigint NOT NULL,
    now_nid bigint,
    latest_nids bigint[] NOT NULL,
    detected_ts bigint NOT NULL
);
COMMENT ON TABLE state_resets IS 'Alarms: a key of the current state changed although no event says so.';
COMMENT ON COLUMN state_resets.id IS 'Number of the alarm.';
COMMENT ON COLUMN state_resets.room_nid IS 'Room.';
COMMENT ON COLUMN state_resets.event_nid IS 'The event whose arrival changed the state.';
COMMENT ON COLUMN state_resets.lost_nid IS 'The event that held the key before.';
COMMENT ON COLUMN state_resets.now_nid IS 'The event that holds it now, if there is one.';
COMMENT ON COLUMN state_resets.latest_nids IS 'Forward extremities whose states were resolved.';
COMMENT ON COLUMN state_resets.detected_ts IS 'produced_ts of the input, in milliseconds since the Unix epoch.';
