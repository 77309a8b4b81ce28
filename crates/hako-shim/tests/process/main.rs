//! The shim behind the process wall, through its sockets. Needs root, busybox
//! and `hako-runtime` beside the shim (or `HAKO_RUNTIME`).

mod exec;
mod footprint;
mod harness;
mod life;
mod streams;
