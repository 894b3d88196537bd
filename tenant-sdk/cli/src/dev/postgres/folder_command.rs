//! Running PostgreSQL's programs on a folder that their user may be unable to reach by its path.
//!
//! As root the programs run as somebody else, who cannot enter, say, a home folder of mode 0700 above
//! the data. Only the path is closed to them; the folder itself is theirs. So it is opened here and
//! inherited, and `-D /proc/self/fd/N` names it. The working folder would not do: up to version 15
//! the programs look for themselves by changing it and returning by its path.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::process::{Child, Command};

use super::account::RunAs;

/// What a program gets when the process that started it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnParentDeath {
    /// SIGINT: a fast shutdown of the server.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// Starts programs through `setpriv`, where there is one that can bind their life to ours. Without it
/// they outlive a killed parent until the next start finds them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launcher(Option<std::path::PathBuf>);

impl Launcher {
    /// Takes `setpriv` if it knows the option: that of util-linux does, that of busybox does not.
    pub(crate) async fn probe(setpriv: Option<std::path::PathBuf>) -> Self {
        let Some(setpriv) = setpriv else {
            return Self(None);
        };
        let tried = Command::new(&setpriv)
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .await;
        Self(
            tried
                .is_ok_and(|status| status.success())
                .then_some(setpriv),
        )
    }

    fn command(&self, program: &Path, on_parent_death: OnParentDeath) -> Command {
        let Some(setpriv) = &self.0 else {
            return Command::new(program);
        };
        let signal = match on_parent_death {
            OnParentDeath::Interrupt => "INT",
            OnParentDeath::Kill => "KILL",
        };
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", signal, "--"]).arg(program);
        command
    }
}

/// A program of PostgreSQL's with `-D` set, to be given more arguments and started.
#[derive(Debug)]
pub(crate) struct FolderCommand {
    command: Command,
    /// Open until the child is started.
    folder: Option<File>,
}

impl FolderCommand {
    /// `first` stands before `-D`: `--single` must be the first argument.
    pub(crate) fn new(
        (launcher, on_parent_death): (&Launcher, OnParentDeath),
        program: &Path,
        first: &[&str],
        folder: &Path,
        run_as: RunAs,
    ) -> io::Result<Self> {
        let mut command = launcher.command(program, on_parent_death);
        command
            .args(first)
            .arg("-D")
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true);
        // Settings of the caller's, such as PGPORT, are not the cluster's; messages are for grep.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C");
        let folder = match run_as {
            RunAs::Caller(_) => {
                command.arg(folder);
                None
            }
            RunAs::Other(ids) => {
                let opened = File::open(folder)?;
                command.arg(format!("/proc/self/fd/{}", opened.as_raw_fd()));
                // std also drops the supplementary groups of a root caller.
                command.gid(ids.gid).uid(ids.uid);
                Some(opened)
            }
        };
        Ok(Self { command, folder })
    }

    pub(crate) fn args(&mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.command.args(args);
        self
    }

    pub(crate) fn streams(
        &mut self,
        stdin: impl Into<std::process::Stdio>,
        stdout: impl Into<std::process::Stdio>,
        stderr: impl Into<std::process::Stdio>,
    ) -> &mut Self {
        self.command.stdin(stdin).stdout(stdout).stderr(stderr);
        self
    }

    /// Starts it. No await stands between opening the folder to inheritance and closing it, so on one
    /// thread no other child gets it.
    pub(crate) fn spawn(mut self) -> io::Result<Child> {
        if let Some(folder) = &self.folder {
            fcntl_setfd(folder, FdFlags::empty())?;
        }
        self.command.spawn()
    }
}
