DROP INDEX events_citing;
