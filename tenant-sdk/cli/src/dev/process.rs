//! Who a process is: its id, when it started and what its arguments say. An id alone is used again
//! by the system, so nothing is signalled unless all three fit.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::private_file;

/// How often a process that was told to end is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a process has to end when told to, before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// What a supervised process does. They are stopped in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Node,
    Control,
    Postgres,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Control => "control",
            Self::Postgres => "postgres",
        }
    }

    /// What asks it to end in good order: for PostgreSQL SIGINT, a fast shutdown.
    pub(crate) const fn stop_signal(self) -> Signal {
        match self {
            Self::Node | Self::Control => Signal::TERM,
            Self::Postgres => Signal::INT,
        }
    }

    /// What ends it at once. PostgreSQL's SIGQUIT takes its children along.
    pub(crate) const fn kill_signal(self) -> Signal {
        match self {
            Self::Node | Self::Control => Signal::KILL,
            Self::Postgres => Signal::QUIT,
        }
    }
}

/// One process that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) role: Role,
    pub(crate) pid: u32,
    /// Clock ticks from the system's boot to its start.
    started: u64,
}

impl ProcessRecord {
    /// The record of a running process; `None` if it has ended already.
    pub(crate) fn of(role: Role, pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(proc_file(pid, "stat")).ok()?;
        Some(Self {
            role,
            pid,
            started: parse_stat(&stat)?.started,
        })
    }

    /// Whether it still runs: this id, this start and the folder in its arguments.
    pub(crate) fn is_running(&self, data: &Path) -> bool {
        let alive = fs::read_to_string(proc_file(self.pid, "stat"))
            .ok()
            .and_then(|stat| parse_stat(&stat))
            .is_some_and(|stat| stat.is_alive && stat.started == self.started);
        alive && has_in_arguments(self.pid, data)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may have ended since; whether it has is looked at afterwards.
            kill_process(pid, signal).ok();
        }
    }
}

/// Signals a child of ours, which cannot have lost its id before it is waited for.
pub(crate) fn signal_child(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

/// The processes of the present start, on disk, so that the next start can end what is left.
#[derive(Debug, Default)]
pub(crate) struct ProcessFile {
    path: PathBuf,
    records: Vec<ProcessRecord>,
}

impl ProcessFile {
    /// What a former start left on record, if anything; an unreadable file counts as none.
    pub(crate) fn open(path: PathBuf) -> Self {
        let records = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { path, records }
    }

    /// Puts a started process on record in place of the former one of its role.
    pub(crate) fn started(&mut self, record: ProcessRecord) -> io::Result<()> {
        self.records.retain(|known| known.role != record.role);
        self.records.push(record);
        self.write()
    }

    /// Ends what is left of a former start, in order, and empties the record. Returns what was ended.
    pub(crate) async fn end_leftovers(&mut self, data: &Path) -> io::Result<Vec<Role>> {
        let mut left: Vec<ProcessRecord> = self
            .records
            .drain(..)
            .filter(|record| record.is_running(data))
            .collect();
        left.sort_by_key(|record| record.role);
        for record in &left {
            end(record, data).await?;
        }
        self.write()?;
        Ok(left.into_iter().map(|record| record.role).collect())
    }

    fn write(&self) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(&self.records)?;
        private_file::replace(&self.path, &json)
    }
}

async fn end(record: &ProcessRecord, data: &Path) -> io::Result<()> {
    for signal in [
        record.role.stop_signal(),
        record.role.kill_signal(),
        Signal::KILL,
    ] {
        if !record.is_running(data) {
            return Ok(());
        }
        record.signal(signal);
        let deadline = Instant::now() + GRACE;
        while record.is_running(data) && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }
    if record.is_running(data) {
        let (role, pid) = (record.role.name(), record.pid);
        return Err(io::Error::other(format!(
            "the former {role} (process {pid}) does not end"
        )));
    }
    Ok(())
}

/// Whether some argument of the process holds the folder's path.
fn has_in_arguments(pid: u32, folder: &Path) -> bool {
    let wanted = folder.as_os_str().as_bytes();
    fs::read(proc_file(pid, "cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0)
            .any(|argument| argument.windows(wanted.len()).any(|part| part == wanted))
    })
}

/// Whether the process of this id has the folder as its working folder. One of another user's, whose
/// working folder may not be seen, has not.
pub(crate) fn works_in(pid: u32, folder: &Path) -> bool {
    let (Ok(its), Ok(ours)) = (fs::metadata(proc_file(pid, "cwd")), fs::metadata(folder)) else {
        return false;
    };
    (its.dev(), its.ino()) == (ours.dev(), ours.ino())
}

fn proc_file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    is_alive: bool,
    started: u64,
}

/// Reads `/proc/<pid>/stat` (proc(5)): field 3 is the state, field 22 the start. The name before them
/// may hold anything, a bracket and spaces included, so the last bracket is where it ends.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    // A zombie has ended; that nobody waits for it is not our concern.
    Some(Stat {
        is_alive: !matches!(state, "Z" | "X"),
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use tokio::io::AsyncReadExt as _;
    use tokio::process::Command;

    #[test]
    fn the_start_is_read_whatever_the_name_holds() {
        let tail = "S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        let alive = Stat {
            is_alive: true,
            started: 987_654,
        };
        assert_eq!(parse_stat(&format!("42 (node) {tail}")), Some(alive));
        let odd = parse_stat(&format!("42 (a) S 1 (b ) {}", tail.replacen('S', "Z", 1)));
        assert_eq!(
            odd,
            Some(Stat {
                is_alive: false,
                started: 987_654
            })
        );
        assert_eq!(parse_stat("42 (x"), None);
    }

    #[tokio::test]
    async fn a_leftover_is_ended_only_if_id_start_and_arguments_fit() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data folder");
        let script = "trap '' TERM; echo started; read line; exit 0";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(data.join("node"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut started = [0; 8];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut started)
            .await
            .unwrap();
        let record = ProcessRecord::of(Role::Postgres, child.id().unwrap()).unwrap();
        assert!(record.is_running(&data));

        let path = folder.path().join("processes.json");
        for (other, elsewhere) in [
            (
                ProcessRecord {
                    started: record.started + 1,
                    ..record.clone()
                },
                data.clone(),
            ),
            (record.clone(), folder.path().join("another")),
        ] {
            let mut file = ProcessFile {
                path: path.clone(),
                records: vec![],
            };
            file.started(other).unwrap();
            let mut file = ProcessFile::open(path.clone());
            assert_eq!(file.end_leftovers(&elsewhere).await.unwrap(), []);
        }
        assert!(record.is_running(&data), "spared twice");

        ProcessFile {
            path: path.clone(),
            records: vec![],
        }
        .started(record.clone())
        .unwrap();
        let mut file = ProcessFile::open(path.clone());
        assert_eq!(file.end_leftovers(&data).await.unwrap(), [Role::Postgres]);
        assert!(!record.is_running(&data));
        child.wait().await.unwrap();
        assert_eq!(
            ProcessFile::open(path).records,
            [],
            "nothing is on record any more"
        );
    }

    #[test]
    fn an_unreadable_record_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("processes.json");
        fs::write(&path, "{ half").unwrap();
        assert_eq!(ProcessFile::open(path).records, []);
    }
}
