//! hako-cli
