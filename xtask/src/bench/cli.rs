//! The ways to ask an engine: by the docker client, by `hako`, or by the API
//! alone, which leaves out a client's own start.

use super::engine::{Engine, Kind};
use super::http;
use super::image::SMALL;
use super::measure::{millis, timed};
use crate::{deb, programs};
use anyhow::Result;
use serde_json::json;
use std::process::Command;
use std::time::Instant;

/// Who speaks to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Docker,
    Hako,
    Api,
}

/// An engine, a wall (if it has a choice) and a client.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub engine: &'a Engine,
    pub wall: Option<&'static str>,
    pub client: Client,
}

/// The engine's walls: Hako's two, and whatever another engine has.
pub fn walls(engine: &Engine) -> Vec<Option<&'static str>> {
    match engine.kind {
        Kind::Docker => vec![None],
        Kind::Hako => vec![Some("process"), Some("hyperv")],
    }
}

/// Every way to every engine.
pub fn ways(engines: &[Engine]) -> Vec<Way<'_>> {
    let mut all = Vec::new();
    for engine in engines {
        let clients: &[Client] = match engine.kind {
            Kind::Docker => &[Client::Docker, Client::Api],
            Kind::Hako => &[Client::Hako, Client::Docker, Client::Api],
        };
        for wall in walls(engine) {
            all.extend(clients.iter().map(|client| Way { engine, wall, client: *client }));
        }
    }
    all
}

impl Way<'_> {
    /// The name in the rows. Without a remark it is the engine's own client.
    pub fn name(&self) -> String {
        let remark = match (self.engine.kind, self.client) {
            (_, Client::Api) => ", API alone",
            (Kind::Hako, Client::Docker) => ", docker client",
            _ => "",
        };
        self.name_of_wall() + remark
    }

    /// The engine's name and the wall's.
    pub fn name_of_wall(&self) -> String {
        let wall = self.wall.map(|wall| format!(" {wall}")).unwrap_or_default();
        format!("{}{wall}", self.engine.kind.name())
    }

    /// A command line of this way's client.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        if self.client != Client::Hako {
            return Ok(self.engine.docker(args));
        }
        let mut command = Command::new(programs::bin_dir()?.join("hako"));
        command.arg("--host").arg(format!("unix://{}", self.engine.socket.display())).args(args);
        command.env("HOME", self.engine.dir.join("home"));
        Ok(command)
    }

    /// `run` or `create` behind the wall, without a network.
    pub fn container(&self, verb: &[&str], command: &[&str]) -> Result<Command> {
        self.container_on("none", verb, command)
    }

    /// The same on a network.
    pub fn container_on(&self, network: &str, verb: &[&str], command: &[&str]) -> Result<Command> {
        let mut line = self.command(verb)?;
        line.args(["--network", network]);
        if let Some(wall) = self.wall {
            line.arg(format!("--isolation={wall}"));
        }
        line.arg(SMALL).args(command);
        Ok(line)
    }

    /// `true` in a container of its own, from nothing to removed: milliseconds.
    pub fn run_true(&self) -> Result<f64> {
        match self.client {
            Client::Api => self.run_by_api(),
            _ => timed(&mut self.container(&["run", "--rm"], &["true"])?),
        }
    }

    fn run_by_api(&self) -> Result<f64> {
        let mut host = json!({"NetworkMode": "none"});
        if let Some(wall) = self.wall {
            host["Isolation"] = wall.into();
        }
        let body = json!({"Image": SMALL, "Cmd": ["true"], "HostConfig": host});
        let socket = &self.engine.socket;
        let begin = Instant::now();
        let id = http::id(&http::request(socket, "POST", "/containers/create", Some(&body))?)?;
        http::request(socket, "POST", &format!("/containers/{id}/start"), None)?;
        http::request(socket, "POST", &format!("/containers/{id}/wait"), None)?;
        http::request(socket, "DELETE", &format!("/containers/{id}"), None)?;
        Ok(millis(begin))
    }

    /// Starts a container that sleeps, and returns its id.
    pub fn sleeper(&self) -> Result<String> {
        let id = deb::output(&mut self.container(&["run", "--detach"], &["sleep", "3600"])?)?;
        Ok(id.trim().to_owned())
    }
}
