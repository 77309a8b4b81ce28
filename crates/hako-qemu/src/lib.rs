//! hako-qemu
