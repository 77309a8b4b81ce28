//! hakod
