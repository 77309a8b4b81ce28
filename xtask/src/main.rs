//! `cargo xtask …`: what a user with a clone, a developer and CI run.
//!
//! Building this program needs no package of the distribution: it is what
//! installs them.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod check;
mod deb;
mod demo;
mod fuzz;
mod guest;
mod host_vm;
mod programs;
mod reference;
mod setup;
mod test;
mod tidy;
mod verbs;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Hako workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is needed, build everything, and run `hello` behind both walls
    Demo,
    /// Install what the tests need, build everything, and run all tests
    Test(test::Args),
    /// Formatting, lints, the workspace's own rules, licences and sources
    Check,
    /// The workspace's own rules alone
    Tidy,
    /// Make the guest's kernel and initramfs, cached by content
    Guest(guest::Args),
    /// Hako side by side with what is installed: times, memory, budgets
    Bench(bench::Options),
    /// Minutes of mixed load: hakod's memory, open files and tasks must stay flat
    Soak(bench::soak::Options),
    /// Feed the parsers of untrusted bytes with what a fuzzer makes up
    Fuzz(fuzz::Args),
    /// Install the packages that building, running and testing need
    Setup,
    /// What `bench` runs in containers and guests: serves its orders
    #[command(hide = true)]
    Inside,
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Demo => demo::run(),
        Task::Test(args) => test::run(&args),
        Task::Check => check::run(),
        Task::Tidy => tidy::run(),
        Task::Guest(args) => guest::run(args),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => bench::soak::run(&options),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Inside => bench::inside::serve(),
        Task::Setup => setup::packages(setup::Purpose::Test),
    }
}
