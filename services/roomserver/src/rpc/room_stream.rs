//! What readers of the output log of rooms need beside the log itself.
