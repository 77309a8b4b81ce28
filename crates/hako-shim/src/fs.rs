//! `hako-shim fs`: the process that serves a container's host folders to its
//! guest. One for each container that has any, a child of its shim and in its
//! cgroup; it dies with the shim and ends with the virtual machine.
//!
//! Standard input is the connection; on standard output it says one line, which
//! is `ready` or why it cannot serve.

use anyhow::{Context, Result, bail};
use hako_fuse::Share;
use std::{
    ffi::OsString,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
};

/// Serves until the connection ends. The process has one thread.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> Result<()> {
    hako_os::process::keep_memory_small();
    let (window, shares) = shares(args)?;
    let window =
        window.map(|number| hako_os::fd::take_inherited(number).context("the window is not open")).transpose()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().context("take the connection")?);
    let ready = || {
        // A shim that does not listen has gone, and this process goes with it.
        let _ = io::stdout().write_all(b"ready\n");
    };
    let served = hako_fuse::serve(&shares, socket, window, ready).map_err(anyhow::Error::from);
    if let Err(err) = &served {
        // As above.
        let _ = io::stdout().write_all(format!("{err:#}\n").as_bytes());
    }
    served
}

/// `--window FD`, the memory for large data; `--rw PATH` and `--ro PATH`, in the
/// order in which the guest numbers them, each with `--beneath PATH` and
/// `--non-recursive` behind it where they hold.
fn shares(mut args: impl Iterator<Item = OsString>) -> Result<(Option<i32>, Vec<Share>)> {
    let (mut window, mut shares) = (None, Vec::<Share>::new());
    while let Some(word) = args.next() {
        if word == "--window" {
            let number = args.next().and_then(|number| number.to_str()?.parse().ok());
            window = Some(number.context("--window wants the number of a descriptor")?);
            continue;
        }
        let mut path = || args.next().map(PathBuf::from).with_context(|| format!("{} wants a path", word.display()));
        match (word.to_str(), shares.last_mut()) {
            (Some(mode @ ("--rw" | "--ro")), _) => {
                let (path, beneath) = (path()?, PathBuf::new());
                shares.push(Share { path, beneath, read_only: mode == "--ro", recursive: true });
            }
            (Some("--beneath"), Some(share)) => share.beneath = path()?,
            (Some("--non-recursive"), Some(share)) => share.recursive = false,
            _ => bail!("{} is not known here", word.display()),
        }
    }
    Ok((window, shares))
}
