DROP INDEX room_members_since;
DROP TABLE key_changes;
DROP TABLE key_signatures;
DROP TABLE cross_signing_keys;
DROP TABLE fallback_keys;
DROP TABLE one_time_keys;
DROP TABLE device_keys;
