//! The one table of endpoints. hakod's router walks it, and the page
//! `docs/unsupported.md` shows what of it is not built ([`crate::unsupported`]).

/// HTTP methods of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

impl Method {
    /// The method by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }
    /// The method's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the API's own.
pub enum Op {
    Ping,
    Version,
    Info,
    Events,
    SystemDf,
    Auth,
    Build,
    BuildPrune,
    BuildCancel,
    ContainerList,
    ContainerCreate,
    ContainerPrune,
    ContainerInspect,
    ContainerLogs,
    ContainerStart,
    ContainerStop,
    ContainerRestart,
    ContainerKill,
    ContainerPause,
    ContainerUnpause,
    ContainerRename,
    ContainerUpdate,
    ContainerResize,
    ContainerAttach,
    ContainerAttachWebsocket,
    ContainerWait,
    ContainerStats,
    ContainerTop,
    ContainerRemove,
    ContainerArchiveStat,
    ContainerArchive,
    ContainerExtract,
    ContainerChanges,
    ContainerExport,
    ContainerCommit,
    ExecCreate,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImagePull,
    ImageLoad,
    ImageSave,
    ImagePrune,
    ImageInspect,
    ImageHistory,
    ImageTag,
    ImageRemove,
    ImagePush,
    DistributionInspect,
    NetworkList,
    NetworkCreate,
    NetworkPrune,
    NetworkInspect,
    NetworkConnect,
    NetworkDisconnect,
    NetworkRemove,
    VolumeList,
    VolumeCreate,
    VolumePrune,
    VolumeInspect,
    VolumeRemove,
    PluginList,
    /// 404: there is no plugin of any name.
    PluginAbsent,
    /// 503, in the words of an engine that is in no swarm.
    SwarmAbsent(&'static str),
    /// Answers 501; the text names what is not there.
    Unsupported(&'static str),
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// Segments; `{x}` stands for one, `{x..}` for one or more.
    pub path: &'static str,
    /// What it does.
    pub op: Op,
}

const fn row(method: Method, path: &'static str, op: Op) -> Endpoint {
    Endpoint { method, path, op }
}

use Method::{Delete, Get, Head, Post, Put};
use Op::Unsupported as No;

/// What an engine that is in no swarm says of a swarm's matters.
pub const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
                                 to connect this node to swarm and try again.";
/// What it says of a change to a volume, which only a swarm's volumes know.
pub const NO_CLUSTER_VOLUMES: &str = "volume update only valid for cluster volumes, but swarm is unavailable";
/// What it says to one that leaves.
pub const NOT_IN_A_SWARM: &str = "This node is not part of a swarm";

/// What an engine without plugins says of the plugin `name`.
#[must_use]
pub fn no_plugin(name: &str) -> String {
    format!("plugin {name:?} not found")
}

/// Every endpoint of Docker's API, built or not. The first row that fits wins.
pub const ENDPOINTS: &[Endpoint] = &[
    row(Head, "/_ping", Op::Ping),
    row(Get, "/_ping", Op::Ping),
    row(Get, "/version", Op::Version),
    row(Get, "/info", Op::Info),
    row(Get, "/events", Op::Events),
    row(Get, "/system/df", Op::SystemDf),
    row(Post, "/auth", Op::Auth),
    row(Get, "/containers/json", Op::ContainerList),
    row(Post, "/containers/create", Op::ContainerCreate),
    row(Post, "/containers/prune", Op::ContainerPrune),
    row(Get, "/containers/{name}/json", Op::ContainerInspect),
    row(Get, "/containers/{name}/logs", Op::ContainerLogs),
    row(Post, "/containers/{name}/start", Op::ContainerStart),
    row(Post, "/containers/{name}/stop", Op::ContainerStop),
    row(Post, "/containers/{name}/restart", Op::ContainerRestart),
    row(Post, "/containers/{name}/kill", Op::ContainerKill),
    row(Post, "/containers/{name}/pause", Op::ContainerPause),
    row(Post, "/containers/{name}/unpause", Op::ContainerUnpause),
    row(Post, "/containers/{name}/rename", Op::ContainerRename),
    row(Post, "/containers/{name}/resize", Op::ContainerResize),
    row(Post, "/containers/{name}/attach", Op::ContainerAttach),
    row(Get, "/containers/{name}/attach/ws", Op::ContainerAttachWebsocket),
    row(Post, "/containers/{name}/wait", Op::ContainerWait),
    row(Post, "/containers/{name}/exec", Op::ExecCreate),
    row(Post, "/containers/{name}/update", Op::ContainerUpdate),
    row(Get, "/containers/{name}/stats", Op::ContainerStats),
    row(Get, "/containers/{name}/top", Op::ContainerTop),
    row(Get, "/containers/{name}/checkpoints", No("checkpoints")),
    row(Post, "/containers/{name}/checkpoints", No("checkpoints")),
    row(Delete, "/containers/{name}/checkpoints/{checkpoint}", No("checkpoints")),
    row(Get, "/containers/{name}/changes", Op::ContainerChanges),
    row(Get, "/containers/{name}/export", Op::ContainerExport),
    row(Head, "/containers/{name}/archive", Op::ContainerArchiveStat),
    row(Get, "/containers/{name}/archive", Op::ContainerArchive),
    row(Put, "/containers/{name}/archive", Op::ContainerExtract),
    // With a slash it is a link.
    row(Delete, "/containers/{name..}", Op::ContainerRemove),
    row(Post, "/exec/{id}/start", Op::ExecStart),
    row(Post, "/exec/{id}/resize", Op::ExecResize),
    row(Get, "/exec/{id}/json", Op::ExecInspect),
    row(Get, "/images/json", Op::ImageList),
    row(Get, "/images/search", No("image search: this engine has no index to search in")),
    row(Get, "/images/get", Op::ImageSave),
    row(Post, "/images/create", Op::ImagePull),
    row(Post, "/images/load", Op::ImageLoad),
    row(Post, "/images/prune", Op::ImagePrune),
    row(Get, "/images/{name..}/json", Op::ImageInspect),
    row(Get, "/images/{name..}/history", Op::ImageHistory),
    row(Get, "/images/{name..}/get", Op::ImageSave),
    row(Post, "/images/{name..}/push", Op::ImagePush),
    row(Post, "/images/{name..}/tag", Op::ImageTag),
    row(Delete, "/images/{name..}", Op::ImageRemove),
    row(Get, "/distribution/{name..}/json", Op::DistributionInspect),
    row(Post, "/commit", Op::ContainerCommit),
    row(Post, "/build", Op::Build),
    row(Post, "/build/prune", Op::BuildPrune),
    row(Post, "/build/cancel", Op::BuildCancel),
    row(Post, "/session", No("image build sessions (BuildKit)")),
    row(Post, "/grpc", No("image build sessions (BuildKit)")),
    row(Get, "/networks", Op::NetworkList),
    row(Post, "/networks/create", Op::NetworkCreate),
    row(Post, "/networks/prune", Op::NetworkPrune),
    row(Get, "/networks/{id}", Op::NetworkInspect),
    row(Post, "/networks/{id}/connect", Op::NetworkConnect),
    row(Post, "/networks/{id}/disconnect", Op::NetworkDisconnect),
    row(Delete, "/networks/{id}", Op::NetworkRemove),
    row(Get, "/volumes", Op::VolumeList),
    row(Post, "/volumes/create", Op::VolumeCreate),
    row(Post, "/volumes/prune", Op::VolumePrune),
    row(Get, "/volumes/{name..}", Op::VolumeInspect),
    row(Put, "/volumes/{name..}", Op::SwarmAbsent(NO_CLUSTER_VOLUMES)),
    row(Delete, "/volumes/{name..}", Op::VolumeRemove),
    row(Get, "/plugins", Op::PluginList),
    row(Get, "/plugins/privileges", No("plugins: there is nothing that one could be installed into")),
    row(Post, "/plugins/pull", No("plugins: there is nothing that one could be installed into")),
    row(Post, "/plugins/create", No("plugins: there is nothing that one could be installed into")),
    row(Get, "/plugins/{name..}/json", Op::PluginAbsent),
    row(Post, "/plugins/{name..}/enable", Op::PluginAbsent),
    row(Post, "/plugins/{name..}/disable", Op::PluginAbsent),
    row(Post, "/plugins/{name..}/push", Op::PluginAbsent),
    row(Post, "/plugins/{name..}/upgrade", Op::PluginAbsent),
    row(Post, "/plugins/{name..}/set", Op::PluginAbsent),
    row(Delete, "/plugins/{name..}", Op::PluginAbsent),
    row(Post, "/swarm/init", No("swarm: this engine joins no cluster")),
    row(Post, "/swarm/join", No("swarm: this engine joins no cluster")),
    row(Post, "/swarm/leave", Op::SwarmAbsent(NOT_IN_A_SWARM)),
    row(Get, "/swarm", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/swarm/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Post, "/swarm/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/nodes", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/nodes/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Post, "/nodes/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Delete, "/nodes/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/services", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/services/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Post, "/services/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Delete, "/services/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/tasks", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/tasks/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/secrets", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/secrets/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Post, "/secrets/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Delete, "/secrets/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/configs", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Get, "/configs/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Post, "/configs/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
    row(Delete, "/configs/{any..}", Op::SwarmAbsent(NOT_A_MANAGER)),
];

/// A row that fits a request, with what its placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched<'a> {
    /// What to do.
    pub op: Op,
    /// The placeholder's text as it was sent (still percent-encoded), or empty.
    pub param: &'a str,
}

/// Finds the row for `method` and `path` (without its version prefix).
#[must_use]
pub fn lookup(method: Method, path: &str) -> Option<Matched<'_>> {
    ENDPOINTS
        .iter()
        .filter(|row| row.method == method)
        .find_map(|row| match_path(row.path, path).map(|param| Matched { op: row.op, param }))
}

/// Matches a pattern; answers the text of its first placeholder. A greedy one
/// is the only one of its pattern.
fn match_path<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (Some(open), Some(close)) = (pattern.find('{'), pattern.find('}')) else {
        return (pattern == path).then_some("");
    };
    let (rest, tail) = (path.strip_prefix(&pattern[..open])?, &pattern[close + 1..]);
    if pattern[open..close].ends_with("..") {
        return rest.strip_suffix(tail).filter(|param| !param.is_empty());
    }
    let (param, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match_path(tail, rest)?;
    (!param.is_empty()).then_some(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_match() {
        let hit = lookup(Method::Get, "/images/library/busybox:1/json").unwrap();
        assert_eq!(hit, Matched { op: Op::ImageInspect, param: "library/busybox:1" });
        assert_eq!(lookup(Method::Get, "/images/json").unwrap().op, Op::ImageList);
        assert_eq!(lookup(Method::Post, "/containers/a/b/start"), None);
        assert_eq!(lookup(Method::Delete, "/containers/abc").unwrap().param, "abc");
        assert_eq!(lookup(Method::Get, "/nothing"), None);
        let checkpoint = lookup(Method::Delete, "/containers/abc/checkpoints/one").unwrap();
        assert_eq!(checkpoint, Matched { op: Op::Unsupported("checkpoints"), param: "abc" });
        assert_eq!(lookup(Method::Delete, "/containers/user/site").unwrap().param, "user/site");
        assert_eq!(lookup(Method::Delete, "/plugins/a/b:1").unwrap().param, "a/b:1");
        assert_eq!(
            lookup(Method::Post, "/swarm/init").unwrap().op,
            Op::Unsupported("swarm: this engine joins no cluster")
        );
    }
}
