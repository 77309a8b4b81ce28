//! hako-layers
