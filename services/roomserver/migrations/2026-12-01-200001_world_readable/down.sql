DROP INDEX events_world_readable;
