-- Which state events cite an event as an auth event: asked by state resolution, for events that only old forks know.
CREATE INDEX events_citing ON events USING gin (auth_nids) WITH (fastupdate = off) WHERE state_key IS NOT NULL;
