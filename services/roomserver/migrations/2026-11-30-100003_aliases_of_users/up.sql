-- How many aliases a user has is bounded, so they are counted.
CREATE INDEX aliases_creator ON aliases (creator);
