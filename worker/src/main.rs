//! The `stockstream` command.
fn main() {}
