DROP TABLE user_output_log, filters, account_data, profiles, refresh_tokens, access_tokens, devices, accounts;
