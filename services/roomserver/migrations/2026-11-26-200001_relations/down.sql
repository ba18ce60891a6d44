DROP INDEX events_time;
DROP TABLE threads, event_relations;
