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
    ContainerWait,
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
    ImageInspect,
    ImageHistory,
    ImageTag,
    ImageRemove,
    NetworkList,
    NetworkInspect,
    VolumeList,
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

/// Every endpoint of Docker's API, built or not. The first row that fits wins.
pub const ENDPOINTS: &[Endpoint] = &[
    row(Head, "/_ping", Op::Ping),
    row(Get, "/_ping", Op::Ping),
    row(Get, "/version", Op::Version),
    row(Get, "/info", Op::Info),
    row(Get, "/events", Op::Events),
    row(Get, "/system/df", No("system df")),
    row(Post, "/auth", No("login to a registry")),
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
    row(Get, "/containers/{name}/attach/ws", No("attach over a websocket")),
    row(Post, "/containers/{name}/wait", Op::ContainerWait),
    row(Post, "/containers/{name}/exec", Op::ExecCreate),
    row(Post, "/containers/{name}/update", Op::ContainerUpdate),
    row(Get, "/containers/{name}/stats", No("container stats")),
    row(Get, "/containers/{name}/top", No("container top")),
    row(Get, "/containers/{name}/changes", Op::ContainerChanges),
    row(Get, "/containers/{name}/export", Op::ContainerExport),
    row(Head, "/containers/{name}/archive", Op::ContainerArchiveStat),
    row(Get, "/containers/{name}/archive", Op::ContainerArchive),
    row(Put, "/containers/{name}/archive", Op::ContainerExtract),
    row(Delete, "/containers/{name}", Op::ContainerRemove),
    row(Post, "/exec/{id}/start", Op::ExecStart),
    row(Post, "/exec/{id}/resize", Op::ExecResize),
    row(Get, "/exec/{id}/json", Op::ExecInspect),
    row(Get, "/images/json", Op::ImageList),
    row(Get, "/images/search", No("image search")),
    row(Get, "/images/get", No("image save")),
    row(Post, "/images/create", Op::ImagePull),
    row(Post, "/images/load", Op::ImageLoad),
    row(Post, "/images/prune", No("image prune")),
    row(Get, "/images/{name..}/json", Op::ImageInspect),
    row(Get, "/images/{name..}/history", Op::ImageHistory),
    row(Get, "/images/{name..}/get", No("image save")),
    row(Post, "/images/{name..}/push", No("image push")),
    row(Post, "/images/{name..}/tag", Op::ImageTag),
    row(Delete, "/images/{name..}", Op::ImageRemove),
    row(Get, "/distribution/{name..}/json", No("distribution inspect")),
    row(Post, "/commit", Op::ContainerCommit),
    row(Post, "/build", No("image build")),
    row(Post, "/build/prune", No("builder prune")),
    row(Post, "/build/cancel", No("image build")),
    row(Post, "/session", No("image build sessions (BuildKit)")),
    row(Post, "/grpc", No("image build sessions (BuildKit)")),
    row(Get, "/networks", Op::NetworkList),
    row(Post, "/networks/create", No("network create")),
    row(Post, "/networks/prune", No("network prune")),
    row(Get, "/networks/{id}", Op::NetworkInspect),
    row(Post, "/networks/{id}/connect", No("network connect")),
    row(Post, "/networks/{id}/disconnect", No("network disconnect")),
    row(Delete, "/networks/{id}", No("network rm")),
    row(Get, "/volumes", Op::VolumeList),
    row(Post, "/volumes/create", No("volume create")),
    row(Post, "/volumes/prune", No("volume prune")),
    row(Get, "/volumes/{name..}", No("volume inspect")),
    row(Put, "/volumes/{name..}", No("volume update")),
    row(Delete, "/volumes/{name..}", No("volume rm")),
    row(Get, "/plugins", No("plugins")),
    row(Get, "/plugins/{name..}", No("plugins")),
    row(Post, "/plugins/{name..}", No("plugins")),
    row(Delete, "/plugins/{name..}", No("plugins")),
    row(Get, "/swarm", No("swarm")),
    row(Get, "/swarm/{any..}", No("swarm")),
    row(Post, "/swarm/{any..}", No("swarm")),
    row(Get, "/nodes", No("swarm nodes")),
    row(Get, "/nodes/{any..}", No("swarm nodes")),
    row(Post, "/nodes/{any..}", No("swarm nodes")),
    row(Delete, "/nodes/{any..}", No("swarm nodes")),
    row(Get, "/services", No("swarm services")),
    row(Get, "/services/{any..}", No("swarm services")),
    row(Post, "/services/{any..}", No("swarm services")),
    row(Delete, "/services/{any..}", No("swarm services")),
    row(Get, "/tasks", No("swarm tasks")),
    row(Get, "/tasks/{any..}", No("swarm tasks")),
    row(Get, "/secrets", No("swarm secrets")),
    row(Get, "/secrets/{any..}", No("swarm secrets")),
    row(Post, "/secrets/{any..}", No("swarm secrets")),
    row(Delete, "/secrets/{any..}", No("swarm secrets")),
    row(Get, "/configs", No("swarm configs")),
    row(Get, "/configs/{any..}", No("swarm configs")),
    row(Post, "/configs/{any..}", No("swarm configs")),
    row(Delete, "/configs/{any..}", No("swarm configs")),
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

/// Matches a pattern with at most one placeholder; answers its text.
fn match_path<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some(open) = pattern.find('{') else {
        return (pattern == path).then_some("");
    };
    let close = pattern.find('}')?;
    let greedy = pattern[open..close].ends_with("..");
    let param = path.strip_prefix(&pattern[..open])?.strip_suffix(&pattern[close + 1..])?;
    let fits = !param.is_empty() && (greedy || !param.contains('/'));
    fits.then_some(param)
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
    }
}
