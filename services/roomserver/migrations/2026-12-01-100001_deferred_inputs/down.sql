DROP TABLE deferred_inputs;
