//! The private cluster: made once, started at each start, reachable through its socket only.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Child;

use super::account::{Ids, RunAs};
use super::find::Programs;
use super::folder_command::{FolderCommand, Launcher, OnParentDeath};
use super::sockets;
use crate::dev::{private_file, process};

/// The role that owns the cluster; nothing connects as it.
const SUPERUSER: &str = "postgres";
/// The role that the control plane connects as: no superuser, and row-level security binds it.
const ROLE: &str = "tessera";
/// The database that it owns.
const DATABASE: &str = "tessera";
/// No port is opened; the number is part of the socket's name.
const PORT: u16 = 5432;
/// Who may connect: the one role, with its password, through the socket.
const HBA: &str = "local tessera tessera scram-sha-256\n";
/// What a cluster that is being made is called until it is complete.
const UNFINISHED: &str = "postgres.new-";
/// Lines of a failed program's output that its error repeats.
const ERROR_LINES_MAX: usize = 8;

/// What went wrong with the cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        program: &'static str,
        status: String,
        output: String,
    },
    #[error("{0} is no PostgreSQL cluster, and not empty")]
    Foreign(PathBuf),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |source| ClusterError::Io { what, source }
}

/// A cluster that is there on disk; `None` if it has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Existing {
    pub(crate) major: u32,
    pub(crate) owner: Ids,
}

impl Existing {
    /// Looks at the folder without changing it.
    pub(crate) fn look(folder: &Path) -> Result<Option<Self>, ClusterError> {
        let reading = |error| io_error(format!("reading {}", folder.display()))(error);
        let meta = match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(reading)?,
        };
        let version = match fs::read_to_string(folder.join("PG_VERSION")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ClusterError::Foreign(folder.to_owned()));
            }
            other => other.map_err(reading)?,
        };
        let major = version
            .trim()
            .parse()
            .map_err(|_| ClusterError::Foreign(folder.to_owned()))?;
        Ok(Some(Self {
            major,
            owner: Ids {
                uid: meta.uid(),
                gid: meta.gid(),
            },
        }))
    }
}

/// The cluster of one data folder.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) programs: Programs,
    pub(crate) launcher: Launcher,
    pub(crate) run_as: RunAs,
    /// Where its files are: an absolute path.
    pub(crate) folder: PathBuf,
    /// Where its socket is; see [`sockets`].
    pub(crate) sockets: PathBuf,
    /// Of the role that the control plane connects as; letters and digits.
    pub(crate) password: String,
}

impl Cluster {
    /// Makes the cluster beside its place and moves it there once it is complete, so that a crash
    /// leaves either none or a whole one.
    pub(crate) async fn create(&self) -> Result<(), ClusterError> {
        self.remove_unfinished()
            .map_err(io_error("removing an unfinished cluster"))?;
        let building = self
            .folder
            .with_file_name(format!("{UNFINISHED}{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&building)
            .and_then(|()| sockets::hand_over(&building, self.run_as))
            .map_err(io_error(format!("making {}", building.display())))?;
        self.initialise(&building).await?;
        self.create_role(&building).await?;
        // Written into the file that initdb made, so that it keeps its owner.
        fs::write(building.join("pg_hba.conf"), HBA)
            .and_then(|()| File::open(building.join("pg_hba.conf"))?.sync_all())
            .and_then(|()| fs::rename(&building, &self.folder))
            .and_then(|()| private_file::sync_folder_of(&self.folder))
            .map_err(io_error(format!("finishing {}", self.folder.display())))
    }

    /// Starts the server; its log goes to `log`.
    pub(crate) fn start(&self, log: File) -> Result<Child, ClusterError> {
        self.remove_stale_pid_file()
            .map_err(io_error("removing a stale postmaster.pid"))?;
        let starting = || io_error("starting postgres");
        let also = log.try_clone().map_err(starting())?;
        let mut command = self
            .command(
                OnParentDeath::Interrupt,
                &self.programs.postgres(),
                &[],
                &self.folder,
            )
            .map_err(starting())?;
        command
            .args(self.server_arguments())
            .streams(Stdio::null(), log, also);
        command.spawn().map_err(starting())
    }

    /// Whether the server of this process id accepts connections: what `pg_ctl` waits for.
    pub(crate) fn is_ready(&self, pid: u32) -> bool {
        fs::read_to_string(self.pid_file()).is_ok_and(|text| says_ready(&text, pid))
    }

    /// What the control plane connects with.
    pub(crate) fn url(&self) -> String {
        let (password, sockets) = (&self.password, self.sockets.display());
        format!("postgres://{ROLE}:{password}@localhost:{PORT}/{DATABASE}?host={sockets}")
    }

    async fn initialise(&self, folder: &Path) -> Result<(), ClusterError> {
        let initdb = self.programs.initdb();
        let mut command = self
            .command(OnParentDeath::Kill, &initdb, &[], folder)
            .map_err(io_error("starting initdb"))?;
        command.args(["--username", SUPERUSER, "--encoding", "UTF8", "--no-locale"]);
        // Nobody comes in until the role and its rule are there.
        command.args([
            "--auth-local",
            "reject",
            "--auth-host",
            "reject",
            "--data-checksums",
        ]);
        command.streams(Stdio::null(), Stdio::piped(), Stdio::piped());
        let output = command
            .spawn()
            .map_err(io_error("starting initdb"))?
            .wait_with_output()
            .await;
        succeeded("initdb", &output.map_err(io_error("waiting for initdb"))?)
    }

    /// Makes role and database in single-user mode: the password is in no argument and in no file.
    async fn create_role(&self, folder: &Path) -> Result<(), ClusterError> {
        let doing = || io_error("making the database role");
        let mut command = self
            .command(
                OnParentDeath::Kill,
                &self.programs.postgres(),
                &["--single"],
                folder,
            )
            .map_err(doing())?;
        command.args(["-c", "exit_on_error=on", "postgres"]);
        command.streams(Stdio::piped(), Stdio::null(), Stdio::piped());
        let mut child = command.spawn().map_err(doing())?;
        if let Some(mut stdin) = child.stdin.take() {
            let script = role_script(&self.password);
            // If it ends early its own message says more than the broken pipe.
            drop(stdin.write_all(script.as_bytes()).await);
        }
        let output = child.wait_with_output().await.map_err(doing())?;
        succeeded("postgres --single", &output)
    }

    fn command(
        &self,
        on_parent_death: OnParentDeath,
        program: &Path,
        first: &[&str],
        folder: &Path,
    ) -> io::Result<FolderCommand> {
        let started_by = (&self.launcher, on_parent_death);
        FolderCommand::new(started_by, program, first, folder, self.run_as)
    }

    fn server_arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut set = |name: &str, value: &std::ffi::OsStr| {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            arguments.extend([OsString::from("-c"), setting]);
        };
        set("listen_addresses", "".as_ref());
        set("port", PORT.to_string().as_ref());
        set("unix_socket_directories", self.sockets.as_os_str());
        set("unix_socket_permissions", "0700".as_ref());
        set("max_connections", "50".as_ref());
        set("shared_buffers", "32MB".as_ref());
        set("logging_collector", "off".as_ref());
        set("cluster_name", "tessera-dev".as_ref());
        // `-D` may name an open folder only; this says whose server it is.
        set("tessera.data_dir", self.folder.as_os_str());
        arguments
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("postmaster.pid")
    }

    /// After a crash the id in the file may be another process's by now, and the server would refuse
    /// to start. Only the holder of the data folder's lock comes here, so a server of ours is not
    /// running; one that somebody started by hand is spared.
    fn remove_stale_pid_file(&self) -> io::Result<()> {
        let Ok(text) = fs::read_to_string(self.pid_file()) else {
            return Ok(());
        };
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        // A server works in its own folder.
        if pid.is_some_and(|pid| process::works_in(pid, &self.folder)) {
            return Ok(());
        }
        private_file::remove(&self.pid_file())
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        let Some(parent) = self.folder.parent() else {
            return Ok(());
        };
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// One statement a line, as single-user mode reads them. The control plane makes further roles in its
/// migrations, so this one may create roles; it may neither bypass row-level security nor do more.
fn role_script(password: &str) -> String {
    debug_assert!(
        password.bytes().all(|b| b.is_ascii_alphanumeric()),
        "stands in quotes"
    );
    format!(
        "CREATE ROLE {ROLE} LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS PASSWORD '{password}'\n\
         CREATE DATABASE {DATABASE} OWNER {ROLE}\n"
    )
}

/// `postmaster.pid`: line 1 is the process id, line 8 the state (`miscadmin.h`).
fn says_ready(text: &str, pid: u32) -> bool {
    let mut lines = text.lines();
    let of_this_process = lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid);
    of_this_process && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

fn succeeded(program: &'static str, output: &Output) -> Result<(), ClusterError> {
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(ERROR_LINES_MAX)..];
    let status = output.status.to_string();
    Err(ClusterError::Program {
        program,
        status,
        output: last.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_counts_as_ready_only_in_its_own_words() {
        let file = |state: &str| {
            format!("42\n/proc/self/fd/9\n1795367690\n5432\n/tmp/x\n\n 1 6\n{state}\n")
        };
        assert!(says_ready(&file("ready   "), 42));
        assert!(!says_ready(&file("starting"), 42));
        assert!(
            !says_ready(&file("ready   "), 43),
            "that of a former server"
        );
        assert!(!says_ready("42\n", 42), "half written");
    }

    #[test]
    fn a_folder_of_other_things_is_no_cluster() {
        let root = tempfile::tempdir().unwrap();
        assert!(Existing::look(&root.path().join("none")).unwrap().is_none());
        let foreign = Existing::look(root.path());
        assert!(matches!(foreign, Err(ClusterError::Foreign(_))));
        fs::write(root.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(Existing::look(root.path()).unwrap().unwrap().major, 15);
    }
}
