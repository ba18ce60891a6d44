CREATE INDEX events_world_readable ON events (room_nid, seq)
    WHERE type = 'm.room.history_visibility' AND visibility = 4 AND seq IS NOT NULL;
COMMENT ON INDEX events_world_readable IS 'Changes of history visibility that made a room world-readable, or ended that: what lies between stays readable to anybody.';
