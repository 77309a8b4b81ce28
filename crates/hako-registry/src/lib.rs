//! hako-registry
