//! `tessera node` and `tessera control`: from options and key files to a serving process.

use std::future::Future;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tessera_api::ControlOptions;
use tessera_node::NodeOptions;
use tessera_tenancy::{FrameKey, ServerKey, decode_hex};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// Runs a data node.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Everything that the node keeps.
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Where devices connect, plain TCP.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    mqtt_listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics answer.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7881")]
    admin_listen: SocketAddr,
    /// The control plane.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7880")]
    control_url: String,
    /// 64 hexadecimal digits: what the control plane signs its changes with.
    #[arg(long, value_name = "FILE")]
    push_key_file: PathBuf,
    /// 64 hexadecimal digits: what the secrets of devices are digested under.
    #[arg(long, value_name = "FILE")]
    server_key_file: PathBuf,
    /// Begins a new cluster if the data folder holds none.
    #[arg(long)]
    init_cluster: bool,
    /// Key ranges that a new cluster starts with, for each kind of store.
    #[arg(long, value_name = "RANGES", default_value_t = NodeOptions::INITIAL_RANGES_DEFAULT)]
    initial_ranges: usize,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs a control plane.
#[derive(Debug, clap::Args)]
pub(crate) struct ControlArgs {
    /// Where push.key and server.key are, unless they are named.
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Where the API and the nodes' streams are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7880")]
    listen: SocketAddr,
    /// The database, as its owner, who migrates it.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// 64 hexadecimal digits: what changes are signed with.
    #[arg(long, value_name = "FILE")]
    push_key_file: Option<PathBuf>,
    /// 64 hexadecimal digits: what secrets are digested under.
    #[arg(long, value_name = "FILE")]
    server_key_file: Option<PathBuf>,
    /// The key of a platform administrator; made if the file is not there.
    #[arg(long, value_name = "FILE")]
    bootstrap_platform_key_file: Option<PathBuf>,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Options of every serving process.
#[derive(Debug, clap::Args)]
struct ProcessArgs {
    /// Ends when standard input closes, and so with the process that started it.
    #[arg(long)]
    exit_with_parent: bool,
    /// What is logged: a level, or several with the rooms that they are for.
    #[arg(
        long,
        value_name = "FILTER",
        env = "TESSERA_LOG",
        default_value = "info,openraft=warn"
    )]
    log: String,
}

impl NodeArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let shutdown = self.process.begin()?;
        let options = NodeOptions {
            data_dir: self.data_dir,
            mqtt_listen: self.mqtt_listen,
            admin_listen: self.admin_listen,
            control_url: self.control_url,
            push_key: FrameKey::from_bytes(read_key(&self.push_key_file)?),
            server_key: ServerKey::from_bytes(read_key(&self.server_key_file)?),
            init_cluster: self.init_cluster,
            initial_ranges: self.initial_ranges,
        };
        Ok(tessera_node::run(options, shutdown).await?)
    }
}

impl ControlArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let shutdown = self.process.begin()?;
        let key_file =
            |named: Option<PathBuf>, usual| named.unwrap_or_else(|| self.data_dir.join(usual));
        let options = ControlOptions {
            listen: self.listen,
            database_url: self.database_url,
            push_key_file: key_file(self.push_key_file, "push.key"),
            server_key_file: key_file(self.server_key_file, "server.key"),
            bootstrap_platform_key_file: self.bootstrap_platform_key_file,
        };
        tessera_api::run(options, shutdown).await
    }
}

impl ProcessArgs {
    /// Starts logging, and returns what resolves when the process is to end.
    fn begin(&self) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
        let filter = EnvFilter::try_new(&self.log)
            .with_context(|| format!("--log {:?} is not understood", self.log))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init();
        raise_descriptor_limit();
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let parent = self.exit_with_parent.then(parent_gone).transpose()?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = until(parent) => {}
            }
        })
    }
}

/// As many open files as the system lets this process have: each device takes one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(limit = ?raised.current, "open files"),
        Err(error) => tracing::warn!(%error, limit = ?limit.current, "open files not raised"),
    }
}

/// Resolves when standard input closes. Reading it blocks, so a thread does; it ends with the process.
fn parent_gone() -> anyhow::Result<oneshot::Receiver<()>> {
    let (gone, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            // An error is an end as well.
            drop(std::io::copy(
                &mut std::io::stdin().lock(),
                &mut std::io::sink(),
            ));
            // The receiver is gone if the process is ending already.
            gone.send(()).unwrap_or_default();
        })
        .context("starting a thread")?;
    Ok(told)
}

async fn until(parent: Option<oneshot::Receiver<()>>) {
    match parent {
        // Either way there is no parent any more.
        Some(told) => told.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn read_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    decode_hex(text.trim())
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("{} does not hold 64 hexadecimal digits", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_holds_64_hexadecimal_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("push.key");
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        assert_eq!(read_key(&path).unwrap(), [0xab; 32]);
        std::fs::write(&path, "ab").unwrap();
        let text = format!("{:#}", read_key(&path).unwrap_err());
        assert!(text.contains("push.key does not hold 64"), "{text}");
    }
}
