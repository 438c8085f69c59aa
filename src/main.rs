//! The `sidedoor` command.

fn main() {}
