//! The binary. Never decides anything.

fn main() {}
