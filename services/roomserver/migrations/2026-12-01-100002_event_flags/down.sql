UPDATE events SET flags = flags & 31 WHERE flags > 31;
COMMENT ON COLUMN events.flags IS 'Bits: 1 rejected, 2 soft-failed, 4 outlier, 8 redacted, 16 sent by a user of this server.';
