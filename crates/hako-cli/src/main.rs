//! hako-cli
fn main() {}
