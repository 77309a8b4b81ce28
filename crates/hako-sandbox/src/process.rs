//! The process wall: namespaces and cgroups on this kernel, made by `hako-runtime`.
//!
//! Used by `hako-shim` on the host and by `hako-agent` in the guest.

mod reaper;

use crate::{CreateRequest, Sandbox, Stdio, StdioRequest};
use async_trait::async_trait;
use hako_model::{Error, ExitDetails, Result};
pub use reaper::Reaper;
use std::path::PathBuf;

/// What the process wall needs to know about its surroundings.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The `hako-runtime` program.
    pub runtime: PathBuf,
    /// The runtime's `--root`.
    pub runtime_root: PathBuf,
    /// An existing folder for pid files, console sockets and exec specs.
    pub dir: PathBuf,
}

/// One container on this kernel.
#[derive(Debug)]
pub struct ProcessSandbox {
    config: ProcessConfig,
    reaper: Reaper,
}

impl ProcessSandbox {
    /// A sandbox with no container in it yet. Nothing is touched before `create`.
    #[must_use]
    pub fn new(config: ProcessConfig, reaper: Reaper) -> Self {
        Self { config, reaper }
    }

    fn absent<T>(&self, verb: &str) -> Result<T> {
        let _ = (&self.config, &self.reaper);
        Err(Error::unsupported(format!("{verb} behind the process wall")))
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    async fn create(&self, _req: CreateRequest) -> Result<(i32, Stdio)> {
        self.absent("create")
    }
    async fn exec(&self, _exec_id: &str, _process: Vec<u8>, _stdio: StdioRequest) -> Result<Stdio> {
        self.absent("exec")
    }
    async fn start(&self, _exec_id: Option<&str>) -> Result<i32> {
        self.absent("start")
    }
    async fn kill(&self, _exec_id: Option<&str>, _signal: u32, _all: bool) -> Result<()> {
        self.absent("kill")
    }
    async fn wait(&self, _exec_id: Option<&str>) -> Result<ExitDetails> {
        self.absent("wait")
    }
    async fn resize(&self, _exec_id: Option<&str>, _width: u16, _height: u16) -> Result<()> {
        self.absent("resize")
    }
    async fn pids(&self) -> Result<Vec<i32>> {
        self.absent("pids")
    }
    async fn pause(&self) -> Result<()> {
        self.absent("pause")
    }
    async fn resume(&self) -> Result<()> {
        self.absent("resume")
    }
    async fn stats(&self) -> Result<(String, Vec<u8>)> {
        self.absent("stats")
    }
    async fn update(&self, _resources: Vec<u8>) -> Result<()> {
        self.absent("update")
    }
    async fn delete(&self, _exec_id: Option<&str>) -> Result<()> {
        self.absent("delete")
    }
    fn vm_pid(&self) -> Option<i32> {
        None
    }
}
