//! `cargo xtask test --host vm`: a chosen subset of the black-box tests on a
//! host as users have it: KVM, pure cgroup2 with every controller, AppArmor,
//! loadable modules.
//!
//! ```text
//! this machine ── builds programs and tests (static)
//!   └─ QEMU q35, TCG, emulated SVM: Debian's kernel, this machine's root read-only
//!        └─ the tests, hakod, and the microVMs under KVM
//! ```
//!
//! The machine inside writes to an overlay on a disk of its own, so nothing
//! that the tests do reaches this machine.

pub mod initramfs;
mod kernel;
mod machine;
pub mod tsc;

use crate::{deb, programs};
use anyhow::{Context, Result, bail};
use machine::{Files, Lost, MARKER, Machine};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is run where no filter is given: names of tests, or parts of them. The
/// machine is emulated: a chosen few of each kind.
const SUBSET: [&str; 14] = [
    "host_vm::",
    // On pure cgroup2, where a VM's group has the io and cpuset controllers.
    "exec::not_beyond_the_limit_of_processes",
    "limits::shares",
    "limits::cpu_sets",
    "limits::block_devices",
    "limits::block_weight",
    "client::hello",
    "streams::ten_megabytes_through_cat",
    "streams::stdout_and_stderr_apart",
    "exit::exit_code_is_kept",
    "exit::death_by_signal",
    "exit::missing_command_is_127",
    "exit::not_executable_is_126",
    "memory::out_of_memory",
];
/// The same on a machine with one processor: where virtual machines are copies,
/// one with two dies (docs/decisions/0031-templates.md).
const ON_ONE_PROCESSOR: [&str; 2] =
    ["templates::the_second_is_a_copy", "templates::one_that_has_died_is_not_given_out"];
/// For everything inside, the machine's own boot included.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// For a boot of the outer machine: 10 s alone, three times that beside builds.
const BOOT_DEADLINE: Duration = Duration::from_secs(90);
/// Boots before it is given up.
const BOOTS: usize = 3;
/// Machines that may stand still in the middle of the tests before it is given up.
const MACHINES: usize = 2;
/// Sparse: only what is written takes space.
const DISK_BYTES: u64 = 8 << 30;

/// Runs the tests whose names contain one of `filters` (by default the chosen
/// subset) in the outer machine. The programs must be built.
pub fn run(filters: &[String]) -> Result<()> {
    let begin = Instant::now();
    let tests = build_tests()?;
    let names: Vec<&str> = match filters {
        [] => SUBSET.iter().chain(&ON_ONE_PROCESSOR).copied().collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let (alone, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| name.starts_with("templates::"));
    let mut outcome = Ok(());
    for (names, processors) in [(others, processors()), (alone, 1)] {
        if !names.is_empty() {
            outcome = outcome.and(run_on(processors, &tests, &names));
        }
    }
    println!("{} s in all", begin.elapsed().as_secs());
    outcome
}

/// Runs those whose names contain one of `names` on a machine with so many processors.
fn run_on(processors: usize, tests: &[PathBuf], names: &[&str]) -> Result<()> {
    let begin = Instant::now();
    let kernel = kernel::fetch()?;
    let dir = tempfile::Builder::new().prefix("hako-host-vm-").tempdir().context("making a folder")?;
    let main = script(tests, names)?;
    let place = |name: &str| dir.path().join(name);
    let (initrd, disk) = (place("initramfs.cpio"), place("disk.img"));
    let (console, beats) = (place("console.log"), place("beats.log"));
    let busybox = programs::find("busybox").context("no busybox (package busybox-static)")?;
    initramfs::write(&initrd, &busybox, &kernel.modules, &main)?;
    let files = Files { kernel: &kernel.image, initramfs: &initrd, disk: &disk, console: &console, beats: &beats };
    let mut machines = 1;
    let outcome = loop {
        let machine = boot(&files, processors)?;
        match machine.follow(Instant::now() + DEADLINE, |line| println!("vm: {line}")) {
            Err(Lost::Machine(why)) if machines < MACHINES => {
                println!("the outer machine was lost, a new one is tried: {why}\n{}", last_words(&files));
                machines += 1;
            }
            outcome => break outcome,
        }
    };
    let seconds = begin.elapsed().as_secs();
    match outcome {
        Ok(0) => {
            println!("the tests on the outer machine passed, {seconds} s");
            Ok(())
        }
        Ok(status) => bail!("the tests on the outer machine failed ({status})"),
        Err(Lost::Machine(why)) => {
            bail!("{MACHINES} outer machines were lost; of the last: {why}\n{}", last_words(&files))
        }
        Err(Lost::Tests(why)) => bail!("{why}\n{}", last_words(&files)),
    }
}

/// What a machine told last, for a failure's report.
fn last_words(files: &Files<'_>) -> String {
    let (console, beats) = (machine::tail(files.console, 40), machine::tail(files.beats, 60));
    format!("its console's last lines:\n{console}\nits processes at the last:\n{beats}")
}

/// Boots the machine. An emulated one may hang on its timers before anything of
/// ours runs, so a boot has a deadline and is tried again.
fn boot(files: &Files<'_>, processors: usize) -> Result<Machine> {
    for _ in 0..BOOTS {
        make_disk(files.disk)?;
        let machine = Machine::boot(files, processors)?;
        if let Some(line) = machine.first_line(BOOT_DEADLINE) {
            println!("vm: {line}");
            return Ok(machine);
        }
        println!("the outer machine did not come up; its console ends:\n{}", machine::tail(files.console, 5));
    }
    bail!("the outer machine did not come up in {BOOTS} boots")
}

/// Two at most: the machine is emulated, and others want to work too.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(2))
}

/// Builds the black-box tests and returns their programs.
fn build_tests() -> Result<Vec<PathBuf>> {
    let output = programs::cargo()?
        // The whole workspace, as for a run here: with other features of its
        // dependencies all of them would be built once more.
        .args(["test", "--release", "--workspace", "--tests", "--no-run"])
        .arg("--message-format=json")
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    if !output.status.success() {
        bail!("the tests could not be built");
    }
    Ok(test_programs(&String::from_utf8_lossy(&output.stdout)))
}

/// The black-box test programs among cargo's messages; tests of single crates
/// and of the harness itself are left out.
fn test_programs(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["kind"][0] == "test")
        .filter(|message| message["manifest_path"].as_str().is_some_and(|path| path.ends_with("/tests/Cargo.toml")))
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

/// What PID 1 runs in the root filesystem.
fn script(tests: &[PathBuf], names: &[&str]) -> Result<String> {
    // Not installed here: its installation would load profiles on this machine.
    let apparmor = deb::unpacked("apparmor")?.join("sbin");
    let (bin, workspace, cache) = (programs::bin_dir()?, programs::workspace()?, programs::cache_dir()?);
    let dirs = [&bin, &workspace, &cache].map(|dir| quoted(&dir.display().to_string())).join(" ");
    let env: String = ["XDG_CACHE_HOME", "HAKO_TEST_DOCKER"]
        .iter()
        .filter_map(|name| Some(format!(" {name}={}", quoted(&env::var(name).ok()?))))
        .collect();
    let mut commands = format!("export HAKO_BIN_DIR={}\n", quoted(&bin.display().to_string()));
    let chosen: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    for test in tests {
        let program = quoted(&test.display().to_string());
        commands.push_str(&format!("{program} --test-threads=1 --include-ignored {} || status=1\n", chosen.join(" ")));
    }
    Ok(include_str!("host_vm/main.sh")
        .replace("@ENV@", &env)
        .replace("@PATH@", &quoted(&apparmor.display().to_string()))
        .replace("@DIRS@", &dirs)
        .replace("@COMMANDS@", &commands)
        .replace("@MARKER@", MARKER))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An empty ext4 disk: overlay's upper directories cannot lie on 9p.
fn make_disk(path: &Path) -> Result<()> {
    File::create(path)
        .and_then(|file| file.set_len(DISK_BYTES))
        .with_context(|| format!("making {}", path.display()))?;
    let mke2fs = programs::find("mke2fs").context("no mke2fs (package e2fsprogs)")?;
    programs::run(Command::new(mke2fs).args(["-q", "-F", "-t", "ext4"]).arg(path))?;
    // mke2fs says nothing, so a short file is the sign of a full disk.
    let made = fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    anyhow::ensure!(made == DISK_BYTES, "the disk has {made} bytes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{quoted, test_programs};

    #[test]
    fn programs_are_read_from_cargo() {
        let text = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/x/tests/Cargo.toml","target":{"kind":["lib"]},"executable":"/l"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/x/tests/Cargo.toml","target":{"kind":["test"]},"executable":"/t"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/x/crates/y/Cargo.toml","target":{"kind":["test"]},"executable":"/y"}"#,
            "\nnoise\n"
        );
        assert_eq!(test_programs(text), [std::path::PathBuf::from("/t")]);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
    }
}
