//! An error of the service Extra is the same on the other side.

#![allow(clippy::unwrap_used)]

use async_trait::async_trait;
use hako_model::{Error, ErrorKind, ExitDetails, ProcessList, Result};
use hako_task::{
    extra::{
        ConfigureReply, ConfigureRequest, Extra, ExtraClient, FiguresReply, GrowReply, GrowRequest, MountRequest,
        NetworkRequest, ProcessRef, create_extra,
    },
    ttrpc::r#async::{
        Client, Server,
        transport::{Listener, Socket},
    },
};
use std::sync::Arc;

/// Refuses everything, each in its way.
struct Refuses;

#[async_trait]
impl Extra for Refuses {
    async fn configure(&self, _req: ConfigureRequest) -> Result<ConfigureReply> {
        Err(Error::unsupported("a guest's matter"))
    }
    async fn grow(&self, _req: GrowRequest) -> Result<GrowReply> {
        Err(Error::conflict("it grows already"))
    }
    async fn exit_details(&self, req: ProcessRef) -> Result<ExitDetails> {
        Err(Error::not_found(format!("no container {:?}", req.id)))
    }
    async fn mount(&self, _req: MountRequest) -> Result<()> {
        Err(Error::invalid("a mount without a target"))
    }
    async fn figures(&self, _req: ProcessRef) -> Result<FiguresReply> {
        Err(Error::internal("the cgroup has gone"))
    }
    async fn network(&self, _req: NetworkRequest) -> Result<()> {
        Err(Error::new(ErrorKind::DeadlineExceeded, "it takes too long"))
    }
    async fn processes(&self, _req: ProcessRef) -> Result<ProcessList> {
        Ok(ProcessList::default())
    }
}

#[tokio::test]
async fn an_error_keeps_its_kind_and_its_words() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let incoming = futures::stream::iter([Ok(theirs)]);
    let mut server =
        Server::new().add_listener(Listener::new(incoming)).register_service(create_extra(Arc::new(Refuses)));
    server.start().await.unwrap();
    let client = ExtraClient::new(Client::new(Socket::new(ours)));
    let process = ProcessRef { id: "x".to_owned(), exec_id: String::new() };
    let absent = client.exit_details(&process).await.unwrap_err();
    assert_eq!((absent.kind, absent.message.as_str()), (ErrorKind::NotFound, "no container \"x\""));
    let internal = client.figures(&process).await.unwrap_err();
    assert_eq!((internal.kind, internal.message.as_str()), (ErrorKind::Internal, "the cgroup has gone"));
    client.processes(&process).await.unwrap();
}
