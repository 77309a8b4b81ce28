//! hako-os
