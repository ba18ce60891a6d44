//! The room server as a process of its own.

fn main() {}
