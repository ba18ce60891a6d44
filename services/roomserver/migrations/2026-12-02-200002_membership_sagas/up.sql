CREATE TABLE membership_sagas (
    room_id text NOT NULL,
    user_id text NOT NULL,
    kind smallint NOT NULL,
    room_version text NOT NULL,
    servers text[] NOT NULL,
    event bytea NOT NULL,
    attempts integer NOT NULL,
    created_ts bigint NOT NULL,
    error text NOT NULL,
    holder bytea NOT NULL,
    lease_until timestamptz NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX membership_sagas_due ON membership_sagas (due);
COMMENT ON TABLE membership_sagas IS 'Joins and leaves of users of this server that other servers decide, from before the first word that changes anything there until they have come to their end.';
COMMENT ON COLUMN membership_sagas.room_id IS 'Room.';
COMMENT ON COLUMN membership_sagas.user_id IS 'User of this server.';
COMMENT ON COLUMN membership_sagas.kind IS '1: the user joins, 2: the user leaves.';
COMMENT ON COLUMN membership_sagas.room_version IS 'Room version; empty if it is not known.';
COMMENT ON COLUMN membership_sagas.servers IS 'Servers to ask, most likely first; for a join the first one made the template of the event.';
COMMENT ON COLUMN membership_sagas.event IS 'The join event, signed: it is the only one that is ever sent for this join. For leaves, the ID of the member event that they end.';
COMMENT ON COLUMN membership_sagas.attempts IS 'How often it was tried.';
COMMENT ON COLUMN membership_sagas.created_ts IS 'When it began, in milliseconds since the Unix epoch.';
COMMENT ON COLUMN membership_sagas.error IS 'What went wrong last, for people; empty if nothing did.';
COMMENT ON COLUMN membership_sagas.holder IS 'Who holds it: 16 random bytes of one attempt.';
COMMENT ON COLUMN membership_sagas.lease_until IS 'Up to when it is held.';
COMMENT ON COLUMN membership_sagas.due IS 'When it is to be gone on with.';
