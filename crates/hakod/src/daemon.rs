//! The life of the server: lock, recover, listen, serve, go.
//!
//! A SIGHUP has it read the policy again. A SIGTERM ends the server and leaves
//! the containers running; the next start finds them again. So does a SIGKILL.

use crate::{
    Engine,
    config::{self, Config},
    containers::{self, recover},
    http, idle, networks, templates,
};
use anyhow::{Context, bail};
use std::{
    collections::BTreeMap,
    fs,
    io::IsTerminal,
    sync::{Arc, PoisonError},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Runs hakod until a signal ends it.
///
/// # Errors
/// What keeps the engine from starting.
pub fn run(config: Config) -> anyhow::Result<()> {
    logging(&config.log_level);
    hako_os::process::keep_memory_small();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(1 << 20)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(config));
    // Blocking work in flight (a layer being unpacked) is not waited for: it is redone.
    runtime.shutdown_background();
    result
}

fn logging(level: &str) {
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "warn,hakod={level},hako_qemu={level},hako_net={level},hako_store={level},hako_registry={level}"
    ));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let tls = match &config.tls {
        Some(tls) => Some(http::acceptor(&tls.cert, &tls.key, Some(&tls.ca), tls.verify)?),
        None => None,
    };
    fs::create_dir_all(&config.exec_root).with_context(|| format!("exec root {}", config.exec_root.display()))?;
    // The store's lock keeps a second engine off this data root, this one off
    // this exec root, where each would take the other's shims for orphans.
    let lock = fs::File::create(config.exec_root.join("hakod.lock")).context("lock of the exec root")?;
    if lock.try_lock().is_err() {
        bail!("another hakod uses the exec root {}", config.exec_root.display());
    }
    let engine = Engine::open(config)?;
    write_pid(&engine.config)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    networks::recover::open(&engine).await.context("networks")?;
    recover::all(&engine).await.context("recover containers")?;
    networks::recover::settle(&engine).await;
    containers::step::leftovers(&engine).await.context("containers of builds")?;
    let (stop, stopped) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for host in &engine.config.hosts {
        if matches!(host, http::Host::Tcp(_)) && tls.is_none() {
            tracing::warn!("{host:?} is open to everybody who reaches it, with root's rights: use --tlsverify");
        }
        let listener = http::bind(host, &engine.config.group).await?;
        servers.spawn(http::serve(Arc::clone(&engine), listener, tls.clone(), stopped.clone()));
    }
    tokio::spawn(templates::pool::run(Arc::clone(&engine)));
    hako_os::process::trim_memory();
    tokio::spawn(idle::watch(engine.clone()));
    tracing::info!("API listen on {:?}", engine.config.hosts);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&engine),
        }
    }
    tracing::info!("shutting down; containers run on");
    // No receiver left means that the servers have ended, which is what is wanted.
    let _ = stop.send(true);
    while servers.join_next().await.is_some() {}
    tokio::join!(containers::files::end_all(&engine), templates::pool::close(&engine), engine.templates.close());
    containers::remains::gone(&engine).await;
    networks::put_away(&engine).await;
    // Another hakod may have written its own.
    let _ = fs::remove_file(&engine.config.pidfile);
    Ok(())
}

/// Reads the policy again, and nothing else: all other settings are in use.
fn reload(engine: &Engine) {
    match config::policy(engine.config.file.as_deref(), &engine.config.hosts) {
        Ok(policy) => {
            *engine.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
            let attributes = BTreeMap::from([("name".to_owned(), engine.host.hostname.clone())]);
            engine.events.emit("daemon", "reload", &engine.id, attributes);
            tracing::info!("the policy was read again");
        }
        Err(err) => tracing::error!("the policy stays as it was: {err:#}"),
    }
}

fn write_pid(config: &Config) -> anyhow::Result<()> {
    let text = std::process::id().to_string();
    fs::write(&config.pidfile, text).with_context(|| format!("pid file {}", config.pidfile.display()))
}
