//! Placement: behind which wall a container runs, of which manifest, on which
//! kernel. What is decided is hako-platform's alone; here its arguments are put
//! together from what the engine knows.

mod guests;
mod host;
mod vm;
