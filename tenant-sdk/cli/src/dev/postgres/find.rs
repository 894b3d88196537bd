//! Where PostgreSQL's own programs are: on PATH, else in the folders of the distributions.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// The oldest major version that the schema is written for.
pub(crate) const MAJOR_MIN: u32 = 13;

/// Where distributions put each major version: the folder that is listed, what a name in it starts
/// with, and where the programs are below it.
pub(crate) const VERSIONED: [Versioned<'static>; 5] = [
    // Debian, Ubuntu.
    Versioned {
        parent: "/usr/lib/postgresql",
        prefix: "",
        below: "bin",
    },
    // The project's own packages for Fedora, RHEL.
    Versioned {
        parent: "/usr",
        prefix: "pgsql-",
        below: "bin",
    },
    // Built from source; Homebrew on Intel; Homebrew on ARM.
    Versioned {
        parent: "/usr/local",
        prefix: "pgsql",
        below: "bin",
    },
    Versioned {
        parent: "/usr/local/opt",
        prefix: "postgresql",
        below: "bin",
    },
    Versioned {
        parent: "/opt/homebrew/opt",
        prefix: "postgresql",
        below: "bin",
    },
];

/// One family of versioned folders: `<parent>/<prefix>*/<below>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versioned<'a> {
    pub(crate) parent: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) below: &'a str,
}

/// One installation of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs {
    folder: PathBuf,
    /// As its `postgres --version` says, for example `15.18`.
    pub(crate) version: String,
    /// The number before the dot.
    pub(crate) major: u32,
}

impl Programs {
    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }
}

/// Why there are no programs to start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FindError {
    #[error("no PostgreSQL found on PATH or in the folders of the distributions")]
    None,
    #[error(
        "the cluster in the data folder is of PostgreSQL {wanted}, and only {found} is installed: \
         install postgresql-{wanted}, or start afresh with another --data-dir"
    )]
    Major { wanted: u32, found: String },
    #[error("PostgreSQL {found} is too old: {MAJOR_MIN} or newer is needed")]
    TooOld { found: String },
}

/// The programs to use. A cluster that exists can be opened by its own major version only.
pub(crate) async fn find(
    search_path: &OsStr,
    versioned: &[Versioned<'_>],
    cluster_major: Option<u32>,
) -> Result<Programs, FindError> {
    let mut installed = Vec::new();
    for folder in candidates(search_path, versioned) {
        if let Some(programs) = inspect(folder).await {
            // The first fits nearly always, and each look starts a process.
            if cluster_major.is_none_or(|major| major == programs.major)
                && programs.major >= MAJOR_MIN
            {
                return Ok(programs);
            }
            installed.push(programs);
        }
    }
    Err(refusal(&installed, cluster_major))
}

fn refusal(installed: &[Programs], cluster_major: Option<u32>) -> FindError {
    let mut versions: Vec<&str> = installed.iter().map(|p| p.version.as_str()).collect();
    versions.dedup();
    let found = versions.join(", ");
    match (installed.is_empty(), cluster_major) {
        (true, _) => FindError::None,
        (false, Some(wanted)) => FindError::Major { wanted, found },
        (false, None) => FindError::TooOld { found },
    }
}

/// Folders that hold both programs: PATH in its order, then each family, newest version first.
fn candidates(search_path: &OsStr, versioned: &[Versioned<'_>]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .collect();
    for family in versioned {
        folders.extend(family_folders(*family));
    }
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| holds_programs(folder) && seen.insert(folder.clone()));
    folders
}

fn family_folders(family: Versioned<'_>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(family.parent) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(family.prefix)?.to_owned();
            let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            Some((
                leading_number(digits).unwrap_or(0),
                entry.path().join(family.below),
            ))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn holds_programs(folder: &Path) -> bool {
    ["postgres", "initdb"]
        .iter()
        .all(|name| is_executable(&folder.join(name)))
}

pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

async fn inspect(folder: PathBuf) -> Option<Programs> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    let major = leading_number(&version)?;
    Some(Programs {
        folder,
        version,
        major,
    })
}

/// `15.18` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; `17beta1` as it stands.
fn parse_version(text: &str) -> Option<String> {
    let rest = text.trim().strip_prefix("postgres (PostgreSQL) ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn install(folder: &Path, version: &str) {
        fs::create_dir_all(folder).unwrap();
        for name in ["postgres", "initdb"] {
            let file = folder.join(name);
            fs::write(
                &file,
                format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn family(root: &Path) -> Versioned<'_> {
        Versioned {
            parent: root.to_str().unwrap(),
            prefix: "",
            below: "bin",
        }
    }

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian).as_deref(), Some("15.18"));
        assert_eq!(
            parse_version("postgres (PostgreSQL) 17beta1").as_deref(),
            Some("17beta1")
        );
        assert_eq!(leading_number("17beta1"), Some(17));
        assert_eq!(parse_version("mysqld 8"), None);
    }

    #[tokio::test]
    async fn path_comes_first_and_then_the_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let (on_path, lib) = (root.path().join("path"), root.path().join("lib"));
        for version in ["9", "15", "16"] {
            install(&lib.join(version).join("bin"), &format!("{version}.1"));
        }
        let families = [family(&lib)];
        let found = find(OsStr::new(""), &families, None).await.unwrap();
        assert_eq!(
            found.version, "16.1",
            "the newest, by number and not by text"
        );

        install(&on_path, "14.2");
        let path = OsString::from(&on_path);
        assert_eq!(
            find(&path, &families, None).await.unwrap().major,
            14,
            "PATH comes first"
        );
        assert_eq!(
            find(&path, &families, Some(15)).await.unwrap().major,
            15,
            "as the cluster"
        );
    }

    #[tokio::test]
    async fn what_is_missing_is_told_exactly() {
        let root = tempfile::tempdir().unwrap();
        let families = [family(root.path())];
        let none = find(OsStr::new(""), &families, None).await;
        assert_eq!(none, Err(FindError::None));

        install(&root.path().join("12/bin"), "12.9");
        let old = find(OsStr::new(""), &families, None).await;
        assert_eq!(
            old,
            Err(FindError::TooOld {
                found: "12.9".into()
            })
        );
        let other = find(OsStr::new(""), &families, Some(15)).await;
        assert_eq!(
            other,
            Err(FindError::Major {
                wanted: 15,
                found: "12.9".into()
            })
        );
    }

    #[test]
    fn half_an_installation_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), "15.1");
        fs::remove_file(root.path().join("initdb")).unwrap();
        assert!(candidates(root.path().as_os_str(), &[]).is_empty());
    }
}
