//! `tessera dev`: the whole product on one machine, from nothing to the first message.
//!
//! # Contents
//! - [`folder`], [`ephemeral`], [`private_file`], [`keys`], [`state`], [`ports`]: what is on disk, and
//!   whose it is.
//! - [`postgres`]: the private database.
//! - [`launch`], [`child`], [`process`], [`backoff`], [`supervise`]: real child processes, kept
//!   running, ended for sure.
//! - [`seed`]: tenants and secrets, through the API. [`ready`], [`banner`]: what scripts and people see.
//! - [`session`]: all of it in order.
//!
//! # Invariants
//! - One `dev` per data folder: it holds the folder's lock as long as it lives.
//! - No child outlives it for long. Own processes end when their standard input closes; PostgreSQL gets
//!   a signal from the kernel; and what a killed `dev` left is ended by the next start, found by process
//!   id, start time and arguments.
//! - Everything runs on one thread, which is the process's first: the kernel binds a child's life to the
//!   thread that started it.
//! - No secret stands in the arguments of a process, and every file with one has mode 0600.

mod backoff;
mod banner;
mod child;
mod ephemeral;
mod folder;
mod keys;
mod launch;
mod ports;
mod postgres;
mod private_file;
mod process;
mod ready;
mod seed;
mod session;
mod signals;
mod state;
mod supervise;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use folder::DataFolder;
use ready::ReadyFile;
use session::Session;
use signals::Signals;

use crate::context::DATA_FOLDER_DEFAULT;

/// Where MQTT clients connect, unless told otherwise.
const MQTT_PORT: u16 = 1883;
/// Where the API listens, unless told otherwise.
const API_PORT: u16 = 7880;

/// Starts the whole product on this machine, for development.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Where everything is kept.
    #[arg(long, value_name = "FOLDER", default_value = DATA_FOLDER_DEFAULT)]
    data_dir: PathBuf,
    /// Keeps everything in a temporary folder and removes it at the end.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Where MQTT clients connect. If it is busy the next free port is taken. Usually 1883, or that of
    /// the start before.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    mqtt_port: Option<u16>,
    /// Where the API listens, chosen likewise. Usually 7880.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    api_port: Option<u16>,
    /// Writes addresses, secrets and process ids to this file (JSON, mode 0600) when all is ready, and
    /// again after a restart.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// A database to use instead of a private PostgreSQL.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Where programs are looked for.
    #[arg(long, env = "PATH", hide = true, default_value = "")]
    search_path: OsString,
}

/// Runs until a signal ends it. Everything that was started is stopped on every way out.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listening for signals")?;
    let data_dir = if args.ephemeral {
        ephemeral_folder().await?
    } else {
        args.data_dir.clone()
    };
    let folder = DataFolder::open(&data_dir)?;
    let ready_file = args
        .ready_file
        .as_deref()
        .map(std::path::absolute)
        .transpose()?;
    let ready_file = ReadyFile::new(ready_file).context("removing the former ready file")?;
    let root = folder.root().to_owned();
    let mut session = Session::new(&args, data_dir, folder, ready_file)?;
    let outcome = session.run(&mut signals).await;
    let stopped = session.stop(&mut signals).await;
    drop(session);
    if args.ephemeral {
        std::fs::remove_dir_all(&root)
            .with_context(|| format!("removing {}", root.display()))
            .unwrap_or_else(|error| say(&format!("{error:#}")));
    }
    outcome.and(stopped)
}

async fn ephemeral_folder() -> anyhow::Result<PathBuf> {
    let parent = std::env::temp_dir();
    let uid = rustix::process::geteuid().as_raw();
    // What cannot be removed does no harm to this start.
    ephemeral::remove_abandoned(&parent, uid)
        .await
        .unwrap_or_else(|error| say(&format!("removing an abandoned folder: {error}")));
    ephemeral::new_path(&parent)
}

/// Progress goes to standard error; standard output is the banner's.
fn say(line: &str) {
    // A terminal that is gone must not stop the rest.
    writeln!(std::io::stderr(), "tessera dev: {line}").unwrap_or_default();
}
