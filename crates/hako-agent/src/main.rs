//! hako-agent
fn main() {}
