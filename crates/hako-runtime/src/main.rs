//! The OCI runtime's command line; see `docs/architecture.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hako_runtime::main()
}
