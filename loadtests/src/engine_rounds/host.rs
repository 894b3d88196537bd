//! The host as a child process, and what it is asked between the loads.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::engine_rounds::ledger::Violation;
use crate::engine_wire::{Answer, Replica, Request, Row, WriteId, put_line, read_line};

/// Longest time from a start until everything is there again.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;
/// What the host says on standard error, beside the nodes' folders.
const LOG_FILE: &str = "host.log";

/// A process of `tessera-load engine-host`. It is killed when this is dropped, and ends by itself when
/// this process does.
pub(super) struct Host {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The host ends when this is closed.
    #[expect(dead_code, reason = "is open as long as the host is wanted")]
    input: ChildStdin,
    /// Once it has said so.
    port: Option<u16>,
    pub(super) started: Instant,
}

impl Host {
    /// What it writes to standard error is added to a file.
    pub(super) fn start(folder: &Path, nodes: u64) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(LOG_FILE))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("engine-host")
            .args(["--nodes", &nodes.to_string()])
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("the host has no output")?;
        let input = child.stdin.take().context("the host has no input")?;
        Ok(Self {
            child,
            output: BufReader::new(output),
            input,
            port: None,
            started: Instant::now(),
        })
    }

    /// The port that it listens on, once it has opened its folders.
    pub(super) async fn port(&mut self) -> Result<u16, Violation> {
        if let Some(port) = self.port {
            return Ok(port);
        }
        let mut line = String::new();
        let reading = self.output.read_line(&mut line);
        let read = tokio::time::timeout(RECOVERY_MAX, reading).await;
        if read.is_err() {
            let why = "the folders are not open".to_owned();
            return Err(Violation::NotBack { why });
        }
        match line.trim().parse() {
            Ok(port) => {
                self.port = Some(port);
                Ok(port)
            }
            Err(_) => {
                let how = self.ended_within(Duration::from_secs(5)).await;
                let how = how.unwrap_or_else(|| format!("it says {line:?}"));
                Err(Violation::Ended { how })
            }
        }
    }

    /// Kills it after this time; it must not have ended before.
    pub(super) async fn kill_after(mut self, time: Duration) -> anyhow::Result<Option<Violation>> {
        match self.ended_within(time).await {
            Some(how) => Ok(Some(Violation::Ended { how })),
            None => self.kill().await,
        }
    }

    /// Kills it; it must not have ended before.
    pub(super) async fn kill(mut self) -> anyhow::Result<Option<Violation>> {
        self.child.start_kill()?;
        let status = self.child.wait().await?;
        let how = status.to_string();
        Ok((status.signal() != Some(SIGKILL)).then_some(Violation::Ended { how }))
    }

    async fn ended_within(&mut self, time: Duration) -> Option<String> {
        let ended = tokio::time::timeout(time, self.child.wait()).await.ok()?;
        Some(match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })
    }
}

/// What all lives of the host on this folder have said on standard error.
pub(super) fn log_of(folder: &Path) -> anyhow::Result<String> {
    let log = std::fs::read(folder.join(LOG_FILE))?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}

/// A connection to a host.
pub(super) struct Connection {
    pub(super) reader: BufReader<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
}

impl Connection {
    pub(super) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
        })
    }

    /// Asks something that has one answer.
    pub(super) async fn ask(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let mut line = Vec::new();
        put_line(&mut line, request)?;
        self.writer.write_all(&line).await?;
        self.next().await
    }

    pub(super) async fn replicas(&mut self) -> anyhow::Result<Vec<Replica>> {
        let answer = self.ask(&Request::Replicas).await?;
        if let Answer::Replicas(replicas) = answer {
            return Ok(replicas);
        }
        Err(unexpected(answer))
    }

    pub(super) async fn rows(&mut self, node: u64) -> anyhow::Result<Vec<Row>> {
        let mut answer = self.ask(&Request::Rows { node }).await?;
        let mut rows = Vec::new();
        while let Answer::Rows(some) = answer {
            rows.extend(some);
            answer = self.next().await?;
        }
        if let Answer::RowsEnd = answer {
            return Ok(rows);
        }
        Err(unexpected(answer))
    }

    pub(super) async fn is_owned(&mut self, node: u64, id: WriteId) -> anyhow::Result<bool> {
        let answer = self.ask(&Request::IsOwned { node, id }).await?;
        if let Answer::IsOwned(is_owned) = answer {
            return Ok(is_owned);
        }
        Err(unexpected(answer))
    }

    async fn next(&mut self) -> anyhow::Result<Answer> {
        match read_line(&mut self.reader).await? {
            Some(answer) => Ok(answer),
            None => bail!("the host is gone"),
        }
    }
}

fn unexpected(answer: Answer) -> anyhow::Error {
    if let Answer::NotReady { why } = answer {
        return anyhow!(why);
    }
    anyhow!("another answer than was asked for: {answer:?}")
}
