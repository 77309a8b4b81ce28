//! hakod
fn main() {}
