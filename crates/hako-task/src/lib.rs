//! The Task protocol at every hop: containerd's messages (Task v3 over ttrpc),
//! one small service of our own for what Task lacks, the multiplexed agent
//! channel, and the stdio socket of a shim, which files go over as well.
//!
//! ```text
//! hakod ── task.sock (ttrpc: containerd.task.v3.Task + hako.v1.Extra) ──► hako-shim
//! hakod ── stdio.sock (one JSON line, then bytes) ───────────────────────► hako-shim
//! hako-shim ── virtio-serial, yamux ── stream 1: ttrpc, others: bytes ───► hako-agent
//! ```

pub mod error;
pub mod extra;
pub mod files;
pub mod mux;
pub mod stdio;

pub use containerd_shim_protos as protos;
pub use containerd_shim_protos::shim::shim as task;
pub use containerd_shim_protos::shim::shim_ttrpc_async as task_service;
pub use ttrpc;
