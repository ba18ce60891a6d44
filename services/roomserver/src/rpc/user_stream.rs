//! What readers of the output log of users need beside the log itself.
