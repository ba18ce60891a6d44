DROP TABLE dead_letters, verdicts, output_log, aliases, redactions, current_members, state_node, event_json, events, rooms, partition_state;
