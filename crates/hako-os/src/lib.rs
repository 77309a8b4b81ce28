//! The home of unsafe: what the kernel offers and the standard library does not.
//! Every module is small, names the call it wraps, and states what it relies on.

pub mod atomic;
pub mod cgroup;
pub mod fd;
pub mod handle;
pub mod inplace;
pub mod mount;
pub mod netns;
pub mod notify;
pub mod proc;
pub mod process;
pub mod pty;
pub mod tap;

pub use atomic::write_atomic;
