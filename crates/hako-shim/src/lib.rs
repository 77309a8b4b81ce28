//! hako-shim
