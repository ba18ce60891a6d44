//! Users: accounts, devices, tokens, profiles, account data, filters. Pure: no SQL, no gRPC, no clock.
