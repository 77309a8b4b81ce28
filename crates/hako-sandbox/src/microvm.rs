//! The hyperv wall.
