//! `hako.v1.Extra` of the shim.

use crate::container::{Ask, Handle, Query, Request, target};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hako_model::{Error, ExitDetails, ProcessList, Result};
use hako_task::extra::{
    ConfigureReply, ConfigureRequest, Extra, FiguresReply, GrowReply, GrowRequest, MountRequest, NetworkRequest,
    ProcessRef,
};

/// The service.
pub(crate) struct ExtraService {
    id: String,
    container: Handle,
}

impl ExtraService {
    pub(crate) fn new(id: String, container: Handle) -> Self {
        Self { id, container }
    }

    /// A shim serves one container.
    fn check(&self, id: &str) -> Result<()> {
        if id == self.id { Ok(()) } else { Err(Error::not_found(format!("no such container: {id}"))) }
    }
}

#[async_trait]
impl Extra for ExtraService {
    async fn configure(&self, _req: ConfigureRequest) -> Result<ConfigureReply> {
        Err(Error::unsupported("Configure of a shim: it is for guests"))
    }

    async fn grow(&self, _req: GrowRequest) -> Result<GrowReply> {
        Err(Error::unsupported("Grow of a shim: it is for guests"))
    }

    async fn exit_details(&self, req: ProcessRef) -> Result<ExitDetails> {
        self.check(&req.id)?;
        self.container.wait(target(&req.exec_id)).await
    }

    async fn mount(&self, req: MountRequest) -> Result<()> {
        self.check(&req.id)?;
        self.container.call(|reply| Request::Mount(req, reply)).await
    }

    async fn figures(&self, req: ProcessRef) -> Result<FiguresReply> {
        self.check(&req.id)?;
        let figures = self.container.call(|to| Request::Query(Query::Stats(to))).await?;
        let metrics = STANDARD.encode(&figures.metrics);
        Ok(FiguresReply { type_url: figures.type_url, metrics, kernel: figures.kernel, vm: figures.vm })
    }

    async fn network(&self, req: NetworkRequest) -> Result<()> {
        self.check(&req.id)?;
        self.container.call(|to| Request::Ask(Ask::Network(req.change), to)).await
    }

    async fn processes(&self, req: ProcessRef) -> Result<ProcessList> {
        self.check(&req.id)?;
        self.container.call(|to| Request::Query(Query::Processes(to))).await
    }
}
