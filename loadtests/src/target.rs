//! Which broker is measured, and which of its processes are charged.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

/// The broker. A ready file of `tessera dev` says all of it; for other brokers it is spelled out.
#[derive(Debug, Args)]
pub(crate) struct TargetOptions {
    /// The ready file of a running `tessera dev`
    #[arg(long, conflicts_with_all = ["host", "port", "username", "password", "pid"])]
    ready_file: Option<PathBuf>,
    /// Where the broker listens
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port, plain TCP
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// User name of all clients
    #[arg(long)]
    username: Option<String>,
    /// Password of all clients
    #[arg(long)]
    password: Option<String>,
    /// Processes whose CPU time is charged; may be repeated
    #[arg(long)]
    pid: Vec<u32>,
}

/// A broker to connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) pids: Vec<u32>,
}

#[derive(Deserialize)]
struct ReadyFile {
    mqtt_host: String,
    mqtt_port: u16,
    credentials: Vec<Credential>,
    node_pids: Vec<u32>,
}

#[derive(Deserialize)]
struct Credential {
    username: String,
    password: String,
}

impl TargetOptions {
    pub(crate) fn resolve(self) -> anyhow::Result<Target> {
        match self.ready_file {
            Some(path) => Self::from_ready_file(&path),
            None => Ok(Target {
                address: format!("{}:{}", self.host, self.port),
                username: self.username,
                password: self.password,
                pids: self.pid,
            }),
        }
    }

    /// Where the ready file is, if one was named.
    pub(crate) fn ready_file(&self) -> Option<PathBuf> {
        self.ready_file.clone()
    }

    /// What a ready file says now.
    pub(crate) fn from_ready_file(path: &Path) -> anyhow::Result<Target> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let ready: ReadyFile =
            serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?;
        let first = ready
            .credentials
            .into_iter()
            .next()
            .context("the ready file has no credential")?;
        Ok(Target {
            address: format!("{}:{}", ready.mqtt_host, ready.mqtt_port),
            username: Some(first.username),
            password: Some(first.password),
            pids: ready.node_pids,
        })
    }
}
