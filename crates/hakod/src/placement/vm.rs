//! What is asked for of a container's virtual machine.

pub use crate::containers::vm::{Machine as VmAsked, read as vm_options};
