//! The data folder: whose it is, where things are in it, and that only one `dev` uses it.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private_file;

/// The format that this version writes. A newer one is refused: it may hold what we would break.
pub(crate) const FORMAT: u32 = 1;
/// The file that says the folder is ours.
const MARKER: &str = "tessera-dev.json";
/// The file that is locked while a `dev` runs; it holds its process id.
const LOCK: &str = "lock";

/// Why a folder is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(
        "another `tessera dev` is running on {folder}{holder}: stop it, or give another --data-dir"
    )]
    Locked { folder: String, holder: String },
    #[error("{0} is not a data folder of `tessera dev`, and not empty: give another --data-dir")]
    Foreign(String),
    #[error(
        "{folder} was written by a newer Tessera (format {found}, this version knows {FORMAT}): \
         update, or give another --data-dir"
    )]
    Newer { folder: String, found: u32 },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let what = format!("{doing} {}", path.display());
    move |source| FolderError::Io { what, source }
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    /// The version that made it, for people.
    made_by: String,
}

/// A data folder that is locked for this process. The lock ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    root: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Takes the folder, and makes it if it is not there. Refuses before it changes anything.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let root = std::path::absolute(path).map_err(io_error("finding", path))?;
        let marker = check(&root)?;
        private_file::create_folder(&root).map_err(io_error("making", &root))?;
        let lock = lock(&root)?;
        if marker.is_none() {
            // Looked at again, now that nobody else can be making it.
            if check(&root)?.is_none() {
                write_marker(&root)?;
            }
        }
        for folder in [root.join("keys"), root.join("logs")] {
            private_file::create_folder(&folder).map_err(io_error("making", &folder))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// Its absolute path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.root.join("keys").join(name)
    }

    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(process).with_extension("log")
    }

    pub(crate) fn place(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root.join(name.as_ref())
    }
}

/// What the folder says of itself; `None` if it is empty or not there.
fn check(root: &Path) -> Result<Option<Marker>, FolderError> {
    let folder = || root.display().to_string();
    match fs::read(root.join(MARKER)) {
        Ok(bytes) => {
            let marker: Marker =
                serde_json::from_slice(&bytes).map_err(|_| FolderError::Foreign(folder()))?;
            if marker.format > FORMAT {
                return Err(FolderError::Newer {
                    folder: folder(),
                    found: marker.format,
                });
            }
            return Ok(Some(marker));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("reading", &root.join(MARKER))(error)),
    }
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error("reading", root))?,
    };
    for entry in entries {
        let name = entry.map_err(io_error("reading", root))?.file_name();
        // A start that was killed early leaves these two.
        let ours = name == LOCK || name.to_string_lossy() == format!(".{MARKER}.new");
        if !ours {
            return Err(FolderError::Foreign(folder()));
        }
    }
    Ok(None)
}

fn lock(root: &Path) -> Result<File, FolderError> {
    let path = root.join(LOCK);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("opening", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = holder_of(&mut file);
            return Err(FolderError::Locked {
                folder: root.display().to_string(),
                holder,
            });
        }
        Err(TryLockError::Error(error)) => return Err(io_error("locking", &path)(error)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind());
    written
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(io_error("writing", &path))?;
    Ok(file)
}

fn holder_of(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => format!(" (process {text})"),
        Ok(_) | Err(_) => String::new(),
    }
}

fn write_marker(root: &Path) -> Result<(), FolderError> {
    let marker = Marker {
        format: FORMAT,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let path = root.join(MARKER);
    let json = serde_json::to_vec_pretty(&marker).unwrap_or_default();
    private_file::replace(&path, &json).map_err(io_error("writing", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_folder_is_made_private_and_opens_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(".tessera/dev");
        let folder = DataFolder::open(&path).unwrap();
        for made in [&path, &path.join("keys"), &parent.path().join(".tessera")] {
            assert_eq!(
                fs::metadata(made).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
        drop(folder);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_second_one_is_refused_and_told_who_holds_it() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataFolder::open(parent.path()).unwrap();
        let text = DataFolder::open(parent.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(text.contains(&format!(
            "another `tessera dev` is running on {}",
            parent.path().display()
        )));
        assert!(text.contains(&format!("(process {pid})")), "{text}");
        drop(first);
        DataFolder::open(parent.path()).unwrap();
    }

    #[test]
    fn a_foreign_or_newer_folder_is_refused_and_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(
            DataFolder::open(parent.path()),
            Err(FolderError::Foreign(_))
        ));
        assert_eq!(
            fs::read_dir(parent.path()).unwrap().count(),
            1,
            "nothing was added"
        );

        fs::write(parent.path().join(MARKER), "{}").unwrap();
        assert!(matches!(
            DataFolder::open(parent.path()),
            Err(FolderError::Foreign(_))
        ));
        fs::write(parent.path().join(MARKER), r#"{"format":2,"made_by":"9"}"#).unwrap();
        let newer = DataFolder::open(parent.path());
        assert!(matches!(newer, Err(FolderError::Newer { found: 2, .. })));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_start_that_was_killed_at_once_does_not_close_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(LOCK), "12").unwrap();
        DataFolder::open(parent.path()).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(matches!(
            DataFolder::open(&path),
            Err(FolderError::Io { .. })
        ));
    }
}
