//! The `hako` program.

fn main() {
    std::process::exit(hako_cli::main(std::env::args_os()))
}
