//! The process wall.
