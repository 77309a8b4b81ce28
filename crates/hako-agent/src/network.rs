//! The guest's interfaces. The container has no network namespace but the
//! guest's: nothing else is in it.

use hako_model::{Error, GuestInterface, MOST_HOSTS, NetworkChange, Result, merge_hosts};
use hako_net::{
    Gateways, Interface, IpNet, Netns, Route,
    attach::{adopt, release, set_gateways},
};
use hako_sandbox::frames;
use hako_task::mux::MuxStream;
use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::task::JoinHandle;

/// The network card's name while nobody uses it.
const UNUSED: &str = "unused0";
const CLASS: &str = "/sys/class/net";
/// More streams than this are not kept waiting.
const MOST: usize = 64;

/// What there is.
#[derive(Debug, Default)]
pub struct Networks {
    /// Streams that wait for a request to name their interface.
    offered: Mutex<HashMap<String, MuxStream>>,
    links: tokio::sync::Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    /// The interface that the network card is.
    by_card: Option<String>,
    /// Interfaces whose frames travel by stream; they go with the handle.
    by_stream: HashMap<String, JoinHandle<()>>,
}

impl Networks {
    fn offered(&self) -> MutexGuard<'_, HashMap<String, MuxStream>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no stream for the interface `name` is taken, if so.
    pub fn refusal(&self, name: &str) -> Option<String> {
        (self.offered().len() >= MOST).then(|| format!("too many streams wait; the one of {name} is not taken"))
    }

    /// Keeps `stream` for the request that names its interface. One of before,
    /// whose request never came, is closed.
    pub fn offer(&self, name: String, stream: MuxStream) {
        self.offered().insert(name, stream);
    }

    /// Changes the interfaces, or the files about names in `bundle`.
    pub async fn change(&self, change: NetworkChange, by_stream: bool, bundle: &Path) -> Result<()> {
        let mut links = self.links.lock().await;
        let netns = Netns::current().await.map_err(internal)?;
        match change {
            NetworkChange::Connect(wanted) if by_stream => {
                let stream = self.offered().remove(&wanted.name);
                let stream = stream.ok_or_else(|| Error::invalid(format!("no stream is open for {}", wanted.name)))?;
                let joined = by_tap(&netns, &wanted, stream).await?;
                links.by_stream.insert(wanted.name, joined);
                Ok(())
            }
            NetworkChange::Connect(wanted) => {
                let card = card()?;
                adopt(&netns, &card, &interface(&wanted)?).await.map_err(internal)?;
                links.by_card = Some(wanted.name);
                Ok(())
            }
            NetworkChange::Disconnect(name) => match links.by_stream.remove(&name) {
                Some(joined) => {
                    frames::part(joined).await;
                    Ok(())
                }
                None if links.by_card.as_deref() == Some(&name) => {
                    links.by_card = None;
                    // By whatever name the container has given it.
                    release(&netns, &card()?, UNUSED).await.map_err(internal)
                }
                None => Err(Error::not_found(format!("no interface {name} in this guest"))),
            },
            NetworkChange::Gateways { v4, v6 } => set_gateways(&netns, Gateways { v4, v6 }).await.map_err(internal),
            NetworkChange::Sysctls(sysctls) => netns.set_sysctls(sysctls).await.map_err(internal),
            NetworkChange::Files { hosts, before, resolv_conf } => {
                rewrite(&bundle.join("hosts"), |current| merge_hosts(current, &before, &hosts))?;
                rewrite(&bundle.join("resolv.conf"), |_| resolv_conf)
            }
        }
    }
}

/// The container has the file mounted, and may have written anything to it.
fn rewrite(path: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let failed = |err| Error::internal(format!("rewrite {}: {err}", path.display()));
    hako_os::inplace::rewrite(path, MOST_HOSTS, change).map_err(failed)
}

/// A tap device whose frames travel by `stream`.
async fn by_tap(netns: &Netns, wanted: &GuestInterface, stream: MuxStream) -> Result<JoinHandle<()>> {
    let tap = hako_os::tap::open_with_offload(&wanted.name)
        .map_err(|err| Error::internal(format!("make the interface {}: {err}", wanted.name)))?;
    // On an error the device goes with its descriptor.
    adopt(netns, &wanted.name, &interface(wanted)?).await.map_err(internal)?;
    Ok(frames::join(tap, stream)?)
}

/// The name of the machine's network card: the one interface that has a device.
fn card() -> Result<String> {
    let devices = fs::read_dir(CLASS)?.collect::<io::Result<Vec<_>>>()?;
    devices
        .into_iter()
        .find(|entry| Path::new(CLASS).join(entry.file_name()).join("device").exists())
        .and_then(|entry| entry.file_name().into_string().ok())
        .ok_or_else(|| Error::not_found("this guest has no network card"))
}

fn interface(wanted: &GuestInterface) -> Result<Interface> {
    let wrong = |what: &str, text: &str| Error::invalid(format!("{what} {text:?} of the interface {}", wanted.name));
    let net = |text: &String| text.parse::<IpNet>().map_err(|_| wrong("the address", text));
    let route = |(destination, gateway): &(String, Option<String>)| {
        let gateway = gateway.as_ref().map(|text| text.parse().map_err(|_| wrong("the gateway", text)));
        Ok(Route { destination: net(destination)?, gateway: gateway.transpose()? })
    };
    Ok(Interface {
        host_name: String::new(),
        bridge: String::new(),
        isolated: false,
        name: wanted.name.clone(),
        mac: wanted.mac.parse().map_err(|_| wrong("the MAC address", &wanted.mac))?,
        mtu: wanted.mtu,
        addresses: wanted.addresses.iter().map(net).collect::<Result<_>>()?,
        gateways: Gateways { v4: wanted.gateway_v4, v6: wanted.gateway_v6 },
        routes: wanted.routes.iter().map(route).collect::<Result<_>>()?,
        sysctls: wanted.sysctls.clone(),
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn internal(err: hako_net::Error) -> Error {
    Error::internal(err.to_string())
}
