//! The ways to ask an engine: by the docker client, by `hako`, or by the API
//! alone, which leaves out a client's own start.

use super::engine::{Engine, Kind};
use super::http;
use super::image::SMALL;
use super::measure::{millis, timed};
use super::templates::{self, Machines};
use crate::deb;
use anyhow::Result;
use serde_json::{Value, json};
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

/// The engine's walls: those of Hako's that it is asked for, and whatever
/// another engine has.
pub fn walls(engine: &Engine) -> Vec<Option<&'static str>> {
    match engine.kind {
        Kind::Docker => vec![None],
        Kind::Hako => engine.walls.iter().copied().map(Some).collect(),
    }
}

/// Every way to every engine.
pub fn ways(engines: &[Engine]) -> Vec<Way<'_>> {
    let mut all = Vec::new();
    for engine in engines {
        let clients: &[Client] = match engine.kind {
            Kind::Docker => &[Client::Docker, Client::Api],
            // What the other clients add is seen on the main engine.
            Kind::Hako if engine.walls == ["hyperv"] => &[Client::Hako],
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
        self.name_of_wall() + self.remark()
    }

    /// What the name says of the client.
    pub fn remark(&self) -> &'static str {
        match (self.engine.kind, self.client) {
            (_, Client::Api) => ", API alone",
            (Kind::Hako, Client::Docker) => ", docker client",
            _ => "",
        }
    }

    /// The engine's name and the wall's.
    pub fn name_of_wall(&self) -> String {
        let wall = self.wall.map(|wall| format!(" {wall}")).unwrap_or_default();
        format!("{}{wall}", self.engine.label)
    }

    /// The same with how the engine's machines begin, behind the hyperv wall.
    pub fn name_of_start(&self) -> String {
        let machines = if self.engine.no_templates.is_some() { Machines::Cold } else { self.engine.machines };
        let begin = if self.wall == Some("hyperv") { format!(", {}", machines.word()) } else { String::new() };
        self.name_of_wall() + &begin
    }

    /// A command line of this way's client.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        if self.client != Client::Hako {
            return Ok(self.engine.docker(args));
        }
        let mut command = Command::new(self.engine.programs.join("hako"));
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
        self.container_of(SMALL, network, verb, command)
    }

    /// The same of any image.
    fn container_of(&self, image: &str, network: &str, verb: &[&str], command: &[&str]) -> Result<Command> {
        let mut line = self.command(verb)?;
        line.args(["--network", network]);
        if let Some(wall) = self.wall {
            line.arg(format!("--isolation={wall}"));
        }
        line.arg(image).args(command);
        Ok(line)
    }

    /// `run --rm` of an image, without a network.
    pub fn run(&self, image: &str, command: &[&str]) -> Result<Command> {
        self.container_of(image, "none", &["run", "--rm"], command)
    }

    /// A command in a container of its own, from nothing to removed:
    /// milliseconds. A pool that it takes from is full before and after.
    pub fn run_once(&self, image: &str, command: &[&str]) -> Result<f64> {
        templates::settle(self.engine)?;
        let millis = match self.client {
            Client::Api => self.run_by_api(image, command)?,
            _ => timed(&mut self.run(image, command)?)?,
        };
        templates::settle(self.engine)?;
        Ok(millis)
    }

    fn run_by_api(&self, image: &str, command: &[&str]) -> Result<f64> {
        let begin = Instant::now();
        let id = self.start_by_api(image, command)?;
        let socket = &self.engine.socket;
        http::request(socket, "POST", &format!("/containers/{id}/wait"), None)?;
        http::request(socket, "DELETE", &format!("/containers/{id}"), None)?;
        Ok(millis(begin))
    }

    /// Creates and starts a container, and returns its id.
    pub fn start_by_api(&self, image: &str, command: &[&str]) -> Result<String> {
        let mut host = json!({"NetworkMode": "none"});
        if let Some(wall) = self.wall {
            host["Isolation"] = wall.into();
        }
        // None stands for the image's own.
        let command = if command.is_empty() { Value::Null } else { json!(command) };
        let body = json!({"Image": image, "Cmd": command, "HostConfig": host});
        let socket = &self.engine.socket;
        let id = http::id(&http::request(socket, "POST", "/containers/create", Some(&body))?)?;
        http::request(socket, "POST", &format!("/containers/{id}/start"), None)?;
        Ok(id)
    }

    /// Starts a container that sleeps, and returns its id.
    pub fn sleeper(&self) -> Result<String> {
        let id = deb::output(&mut self.container(&["run", "--detach"], &["sleep", "3600"])?)?;
        Ok(id.trim().to_owned())
    }
}
