//! The `goproxy-operator` command.
fn main() {}
