DROP TABLE key_backup_keys;
DROP TABLE key_backup_versions;
