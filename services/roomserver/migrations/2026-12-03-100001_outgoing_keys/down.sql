DROP TABLE outgoing_to_device;
DROP TABLE outgoing_device_lists;
DROP TABLE device_list_changes;
COMMENT ON COLUMN verdicts.created_ts IS 'produced_ts of the input, in milliseconds since the Unix epoch.';
