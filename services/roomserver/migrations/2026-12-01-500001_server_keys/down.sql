DROP TABLE server_key_responses, server_keys;
