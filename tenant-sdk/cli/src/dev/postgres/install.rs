//! Installing PostgreSQL through the system's package manager, or the one line that does it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::find::is_executable;

/// One package manager: its program, the steps that install the server, and the line for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    program: &'static str,
    steps: &'static [&'static [&'static str]],
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        steps: &[
            &["update"],
            &["install", "-y", "--no-install-recommends", "postgresql"],
        ],
    },
    Manager {
        program: "dnf",
        steps: &[&["install", "-y", "postgresql-server"]],
    },
    Manager {
        program: "yum",
        steps: &[&["install", "-y", "postgresql-server"]],
    },
    Manager {
        program: "zypper",
        steps: &[&["--non-interactive", "install", "postgresql-server"]],
    },
    Manager {
        program: "pacman",
        steps: &[&["-Sy", "--noconfirm", "postgresql"]],
    },
    Manager {
        program: "apk",
        steps: &[&["add", "postgresql"]],
    },
];

/// How the caller may act on the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// Is root.
    Root,
    /// `sudo -n` works: no password is asked for.
    Sudo,
    /// Neither.
    None,
}

/// What to do about a missing PostgreSQL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InstallPlan {
    /// Run these, in order; each is a program and its arguments.
    Run(Vec<Vec<String>>),
    /// Tell the person to run this line.
    Tell(String),
    /// No known package manager.
    Unknown,
}

/// Installing did not work out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("no PostgreSQL is installed; run this line, then start again:\n    {0}")]
    AskedFor(String),
    #[error(
        "no PostgreSQL is installed and no known package manager is there: install PostgreSQL, or \
         set DATABASE_URL"
    )]
    Unknown,
    #[error("`{line}` did not work ({status}); install PostgreSQL by hand, or set DATABASE_URL")]
    Failed { line: String, status: String },
}

/// Installs PostgreSQL if that is possible without asking; `say` tells what is run.
pub(crate) async fn install(
    search_path: &OsStr,
    is_root: bool,
    say: &dyn Fn(&str),
) -> Result<(), InstallError> {
    let authority = authority(search_path, is_root).await;
    match plan(manager(search_path), authority) {
        InstallPlan::Tell(line) => Err(InstallError::AskedFor(line)),
        InstallPlan::Unknown => Err(InstallError::Unknown),
        InstallPlan::Run(steps) => {
            say(
                "no PostgreSQL found: installing it through the system's package manager (which may \
                 start a database of its own; that one is not used)",
            );
            for step in steps {
                run(&step, say).await?;
            }
            Ok(())
        }
    }
}

fn plan(manager: Option<&Manager>, authority: Authority) -> InstallPlan {
    let Some(manager) = manager else {
        return InstallPlan::Unknown;
    };
    let command = |step: &&[&str]| -> Vec<String> {
        let words = std::iter::once(&manager.program).chain(step.iter());
        words.map(|word| (*word).to_owned()).collect()
    };
    let commands = manager.steps.iter().map(command);
    match authority {
        Authority::Root => InstallPlan::Run(commands.collect()),
        Authority::Sudo => InstallPlan::Run(
            commands
                .map(|words| {
                    ["sudo", "-n"]
                        .map(str::to_owned)
                        .into_iter()
                        .chain(words)
                        .collect()
                })
                .collect(),
        ),
        Authority::None => {
            let lines: Vec<String> = commands
                .map(|words| format!("sudo {}", words.join(" ")))
                .collect();
            InstallPlan::Tell(lines.join(" && "))
        }
    }
}

fn manager(search_path: &OsStr) -> Option<&'static Manager> {
    MANAGERS
        .iter()
        .find(|manager| on_path(search_path, manager.program).is_some())
}

async fn authority(search_path: &OsStr, is_root: bool) -> Authority {
    if is_root {
        return Authority::Root;
    }
    let Some(sudo) = on_path(search_path, "sudo") else {
        return Authority::None;
    };
    let asked = Command::new(sudo)
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    match asked {
        Ok(status) if status.success() => Authority::Sudo,
        Ok(_) | Err(_) => Authority::None,
    }
}

/// Where a program is on PATH.
pub(crate) fn on_path(search_path: &OsStr, program: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

async fn run(step: &[String], say: &dyn Fn(&str)) -> Result<(), InstallError> {
    let line = step.join(" ");
    say(&format!("$ {line}"));
    let failed = |status: String| InstallError::Failed {
        line: line.clone(),
        status,
    };
    let (program, arguments) = step.split_first().ok_or_else(|| failed("empty".into()))?;
    // Its output is the person's to see; it goes where all progress goes.
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(status.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Mutex;

    fn program(folder: &Path, name: &str, script: &str) {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn root_installs_sudo_is_used_and_others_get_one_line() {
        let apt = Some(&MANAGERS[0]);
        let InstallPlan::Run(root) = plan(apt, Authority::Root) else {
            panic!("root may")
        };
        assert_eq!(root[0], ["apt-get", "update"]);
        assert_eq!(root[1].last().unwrap(), "postgresql");
        let InstallPlan::Run(sudo) = plan(apt, Authority::Sudo) else {
            panic!("sudo may")
        };
        assert_eq!(sudo[1][..3], ["sudo", "-n", "apt-get"]);
        let InstallPlan::Tell(line) = plan(apt, Authority::None) else {
            panic!("is told")
        };
        assert_eq!(
            line,
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql"
        );
        assert_eq!(plan(None, Authority::Root), InstallPlan::Unknown);
    }

    #[tokio::test]
    async fn sudo_counts_only_if_it_asks_for_no_password() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().as_os_str();
        assert_eq!(authority(path, false).await, Authority::None);
        program(root.path(), "sudo", "exit 1");
        assert_eq!(authority(path, false).await, Authority::None);
        program(root.path(), "sudo", "exit 0");
        assert_eq!(authority(path, false).await, Authority::Sudo);
        assert_eq!(authority(path, true).await, Authority::Root);
    }

    #[tokio::test]
    async fn a_failing_step_stops_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        program(root.path(), "dnf", "exit 0");
        assert_eq!(manager(root.path().as_os_str()).unwrap().program, "dnf");
        let said = Mutex::new(Vec::new());
        let step = ["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
        let error = run(&step, &|line| said.lock().unwrap().push(line.to_owned())).await;
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("`sh -c exit 3` did not work (exit status: 3)"),
            "{text}"
        );
        assert_eq!(*said.lock().unwrap(), ["$ sh -c exit 3"]);
    }
}
