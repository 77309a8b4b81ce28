//! What only a host as users have it can show: KVM, pure cgroup2 with every
//! controller, AppArmor. `cargo xtask test --host vm` boots one and runs these.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod users_host;
