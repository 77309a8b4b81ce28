//! hako-shim
fn main() {}
