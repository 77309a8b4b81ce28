//! One nftables table of our own, written whole from a model.
//!
//! ```text
//! apply(Model): delete table, add table: one transaction, no moment without rules
//! publish/unpublish: elements of its maps, one transaction
//! restore: whole again, if somebody flushed the ruleset
//! ```
//!
//! Other tables are never touched. A packet that another table's forward chain
//! drops is dropped, whatever ours says: that is how nftables works, and a
//! firewall with a forward policy of drop has to let our bridges through.

mod conntrack;
mod generation;
mod script;

use crate::{Error, IpNet, Netns, Protocol, Result};
use script::Verb;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// nftables' program.
const NFT: &str = "nft";
/// How long the ruleset has to be at rest before it is looked at: a firewall
/// that starts makes many changes.
const REST: Duration = Duration::from_millis(200);
/// And how long at most, where somebody changes it all the time.
const LATEST: Duration = Duration::from_secs(2);

/// Everything that the table says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Every network with a bridge.
    pub networks: Vec<FilteredNetwork>,
    /// Every published port.
    pub ports: Vec<PublishedPort>,
    /// Whether to drop what is forwarded and is none of ours: for a host that
    /// was no router before [`crate::bridge::enable_forwarding`] (Docker's
    /// forward policy of drop).
    pub drop_others: bool,
}

/// A network as the firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilteredNetwork {
    /// Its bridge.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// Nothing outside is reached, and nothing outside reaches it.
    pub internal: bool,
    /// Whether its containers reach each other (`enable_icc`).
    pub icc: bool,
    /// Whether what leaves gets the host's address (`enable_ip_masquerade`).
    pub masquerade: bool,
}

/// One published port: packets to `host` go to `container`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Where packets arrive; the unspecified address stands for all of its family.
    pub host: SocketAddr,
    /// Where they go; of the same family as `host` (the relay of [`crate::ports`] does the others).
    pub container: SocketAddr,
    /// The bridge that the container is on.
    pub bridge: String,
}

/// The table.
#[derive(Debug)]
pub struct Firewall {
    host: Netns,
    table: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    model: Model,
    /// Whether the model has been written: what was there before belongs to an
    /// engine that has gone, and stays until then.
    written: bool,
    /// The ruleset's number after our last change, if nobody else made one meanwhile.
    generation: Option<u32>,
    /// The table as nft lists it, if it was looked at since our last change.
    listing: Option<String>,
}

impl Firewall {
    /// The table `inet <table>` of `host`; nothing is changed before [`Firewall::apply`].
    #[must_use]
    pub fn new(host: Netns, table: &str) -> Self {
        Self { host, table: table.to_owned(), state: Mutex::default() }
    }

    /// Writes the whole table in one transaction.
    ///
    /// # Errors
    /// `nft`'s words; then the old table stays.
    pub async fn apply(&self, model: Model) -> Result<()> {
        let mut state = self.state.lock().await;
        self.write(&mut state, model).await
    }

    /// Adds `network` (or replaces the one of the same bridge); the rest stays as it is.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn add_network(&self, network: FilteredNetwork) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut model = state.model.clone();
        let mut change = String::new();
        if let Some(known) = model.networks.iter().position(|known| known.bridge == network.bridge) {
            let known = model.networks.remove(known);
            change.push_str(&script::network(&self.table, Verb::Delete, &known));
        }
        change.push_str(&script::network(&self.table, Verb::Add, &network));
        model.networks.push(network);
        self.change(&mut state, &change, model).await
    }

    /// Removes the network of `bridge`, and ports that lead to it.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn remove_network(&self, bridge: &str) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut model = state.model.clone();
        let ports: Vec<_> = model.ports.extract_if(.., |port| port.bridge == bridge).collect();
        let mut change = script::ports(&self.table, Verb::Delete, &ports);
        for network in model.networks.extract_if(.., |network| network.bridge == bridge) {
            change.push_str(&script::network(&self.table, Verb::Delete, &network));
        }
        self.change(&mut state, &change, model).await?;
        self.forget(&ports).await;
        Ok(())
    }

    /// Adds ports: only elements are changed. All or none.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn publish(&self, ports: &[PublishedPort]) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut model = state.model.clone();
        let new: Vec<_> = ports.iter().filter(|port| !model.ports.contains(port)).cloned().collect();
        let change = script::ports(&self.table, Verb::Add, &new);
        model.ports.extend_from_slice(&new);
        self.change(&mut state, &change, model).await?;
        self.forget(&new).await;
        Ok(())
    }

    /// Removes ports; those that are not there are no error.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn unpublish(&self, ports: &[PublishedPort]) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut model = state.model.clone();
        let gone: Vec<_> = model.ports.extract_if(.., |port| ports.contains(port)).collect();
        let change = script::ports(&self.table, Verb::Delete, &gone);
        self.change(&mut state, &change, model).await?;
        self.forget(&gone).await;
        Ok(())
    }

    /// Writes the table again if it is not there as it was written; whether it was written.
    ///
    /// # Errors
    /// As [`Firewall::apply`].
    pub async fn restore(&self) -> Result<bool> {
        let mut state = self.state.lock().await;
        if !state.written {
            return Ok(false);
        }
        let generation = generation::generation(&self.host).await?;
        let known = state.generation == Some(generation);
        if known && state.listing.is_some() {
            return Ok(false);
        }
        let listing = self.list().await?;
        if listing.is_some() && (known || state.listing == listing) {
            state.generation = Some(generation);
            state.listing = listing;
            return Ok(false);
        }
        let model = state.model.clone();
        self.write(&mut state, model).await?;
        Ok(true)
    }

    /// Restores the table whenever the ruleset is changed by somebody else;
    /// runs until it is dropped. Spawn it once.
    pub async fn watch(&self) {
        loop {
            if let Err(err) = self.listen().await {
                tracing::warn!(%err, "the firewall's table is not watched for a moment");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }

    async fn listen(&self) -> Result<()> {
        let mut socket = generation::subscribe(&self.host).await?;
        // What happened before we listened.
        self.restore_and_say().await;
        loop {
            generation::changed(&mut socket).await?;
            let latest = Instant::now() + LATEST;
            while Instant::now() < latest
                && let Ok(changed) = tokio::time::timeout(REST, generation::changed(&mut socket)).await
            {
                changed?;
            }
            self.restore_and_say().await;
        }
    }

    async fn restore_and_say(&self) {
        match self.restore().await {
            Ok(true) => tracing::info!(table = self.table, "somebody changed the firewall's table; written again"),
            Ok(false) => {}
            Err(err) => tracing::error!(%err, table = self.table, "the firewall's table cannot be written again"),
        }
    }

    /// Removes the table.
    ///
    /// # Errors
    /// `nft`'s words.
    pub async fn remove(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        let table = &self.table;
        self.nft(format!("add table inet {table}\ndelete table inet {table}\n")).await?;
        *state = State::default();
        Ok(())
    }

    /// The whole table from `model`, which is the state's from then on.
    async fn write(&self, state: &mut State, model: Model) -> Result<()> {
        let before = self.generation().await;
        self.nft(script::whole(&self.table, &model)).await?;
        *state = State { model, written: true, generation: self.next_after(before).await, listing: None };
        Ok(())
    }

    /// Only what `change` says; if the table is not what it was thought to be, the whole.
    async fn change(&self, state: &mut State, change: &str, model: Model) -> Result<()> {
        if change.is_empty() {
            state.model = model;
            return Ok(());
        }
        let before = state.generation;
        if !state.written || self.nft(change.to_owned()).await.is_err() {
            return self.write(state, model).await;
        }
        *state = State { model, written: true, generation: self.next_after(before).await, listing: None };
        Ok(())
    }

    /// The ports work all the same, but for clients that send on without a pause.
    async fn forget(&self, ports: &[PublishedPort]) {
        if let Err(err) = conntrack::forget(&self.host, ports).await {
            tracing::warn!(%err, "datagrams on their way keep the way that they had");
        }
    }

    async fn generation(&self) -> Option<u32> {
        generation::generation(&self.host).await.ok()
    }

    /// The ruleset's number, if it follows `before`: then the one change since was ours.
    async fn next_after(&self, before: Option<u32>) -> Option<u32> {
        let next = before?.wrapping_add(1);
        self.generation().await.filter(|generation| *generation == next)
    }

    /// The table as it is; `None` if it is not there.
    async fn list(&self) -> Result<Option<String>> {
        let table = self.table.clone();
        let listed = self.host.run(move || {
            // Without counters and the like, so that the same is the same.
            Command::new(NFT).args(["--stateless", "list", "table", "inet", &table]).stdin(Stdio::null()).output()
        });
        let output = listed.await?.map_err(nft_error)?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// One transaction.
    async fn nft(&self, script: String) -> Result<()> {
        let output = self.host.run(move || run(&script)).await?.map_err(nft_error)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let mut lines = text.lines().filter(|line| line.contains("Error")).take(3);
        let message = lines.next().map_or_else(
            || format!("{}: {}", output.status, text.trim()),
            |first| lines.fold(first.to_owned(), |all, line| format!("{all}; {line}")),
        );
        Err(Error::Nft { message })
    }
}

fn run(script: &str) -> io::Result<Output> {
    let mut child = Command::new(NFT)
        .args(["--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // It reads everything before it says anything.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    // If it ended early, its own words say why.
    if output.status.success() { written.map(|()| output) } else { Ok(output) }
}

fn nft_error(err: io::Error) -> Error {
    if err.kind() == io::ErrorKind::NotFound {
        Error::NftNotInstalled { program: NFT.to_owned() }
    } else {
        Error::io("run nft", err)
    }
}
