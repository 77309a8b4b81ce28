//! hako-runtime
fn main() {}
