//! One life of one supervised process: started, looked at until it is ready, stopped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tessera_sdk::rest::Client;
use tokio::process::{Child, ChildStdin, Command};

use super::postgres::cluster::Cluster;
use super::process::{Role, signal_child};

/// A log that is longer at a start is put aside first; one former log is kept.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// How much of a log's end is repeated when its process ended badly.
const TAIL_BYTES: u64 = 2 << 10;
/// Lines of it.
const TAIL_LINES: usize = 6;

/// What to start for a role, and how to see that it is ready.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) role: Role,
    pub(crate) log: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// This very binary with another verb. It ends when its standard input does.
    Own(OwnProgram),
    /// The private cluster's server.
    Postgres(Box<Cluster>),
}

#[derive(Debug)]
pub(crate) struct OwnProgram {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Secrets go this way: arguments can be read by every user of the machine.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Asked whether it is ready.
    pub(crate) probe: Client,
}

/// A started process.
#[derive(Debug)]
pub(crate) struct Life {
    child: Child,
    role: Role,
    pub(crate) pid: u32,
    /// Held open: the process ends when it closes, so also when this one is killed.
    _stdin: Option<ChildStdin>,
}

impl Program {
    pub(crate) fn start(&self) -> io::Result<Life> {
        let log = open_log(&self.log)?;
        let mut child = match &self.kind {
            Kind::Own(own) => own.start(log)?,
            Kind::Postgres(cluster) => cluster.start(log).map_err(io::Error::other)?,
        };
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("ended at once"))?;
        let stdin = child.stdin.take();
        Ok(Life {
            child,
            role: self.role,
            pid,
            _stdin: stdin,
        })
    }

    /// Whether this life of it serves now.
    pub(crate) async fn is_ready(&self, pid: u32) -> bool {
        match &self.kind {
            Kind::Own(own) => own.probe.is_ready().await.is_ok(),
            Kind::Postgres(cluster) => cluster.is_ready(pid),
        }
    }
}

impl OwnProgram {
    fn start(&self, log: File) -> io::Result<Child> {
        Command::new(&self.executable)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for us alone: we stop the others in order.
            .process_group(0)
            // On every way out that is not an orderly stop.
            .kill_on_drop(true)
            .spawn()
    }
}

impl Life {
    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end in good order, and kills it if it does not within `grace`.
    pub(crate) async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        signal_child(self.pid, self.role.stop_signal());
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_elapsed) => self.kill().await,
        }
    }

    async fn kill(&mut self) -> io::Result<ExitStatus> {
        signal_child(self.pid, self.role.kill_signal());
        match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        }
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

/// The last lines of a log.
pub(crate) fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside_and_its_end_can_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        let lines: String = (0..2_000).map(|n| format!("line {n}\n\n")).collect();
        fs::write(&path, &lines).unwrap();
        assert!(
            log_tail(&path).ends_with("line 1998\nline 1999"),
            "{}",
            log_tail(&path)
        );
        assert_eq!(log_tail(&path).lines().count(), TAIL_LINES);

        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(LOG_BYTES_MAX + 1)
            .unwrap();
        assert_eq!(open_log(&path).unwrap().metadata().unwrap().len(), 0);
        assert!(folder.path().join("node.log.1").exists());
        assert_eq!(log_tail(&folder.path().join("none")), "");
    }
}
