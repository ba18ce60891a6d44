ALTER TABLE account_data DROP COLUMN position;
ALTER TABLE event_relations DROP COLUMN annotation_key;
