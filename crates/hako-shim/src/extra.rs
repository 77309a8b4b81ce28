//! `hako.v1.Extra` of the shim.

use crate::container::{Handle, Request, target};
use async_trait::async_trait;
use hako_model::{Error, ExitDetails, Result};
use hako_task::extra::{ConfigureReply, ConfigureRequest, Extra, GrowReply, GrowRequest, MountRequest, ProcessRef};

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
}
