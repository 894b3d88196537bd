//! The engine's folder: one process at a time, one node, and a format that this version reads.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use parking_lot::Mutex;

use crate::error::OpenError;

/// The storage format that this version writes, and the newest that it reads. 2 has epochs in batches
/// and key ranges, 3 the makings of proposers; what 1 and 2 wrote is read as it is.
pub(crate) const FORMAT: u32 = 3;
const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
const FORMAT_WORDS: &str = "tessera shard storage";

/// A folder that this process has, until released or dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Makes the folder if needed, takes its lock and checks its format.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(|source| OpenError::io(path, source))?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_names(parent).map_err(|source| OpenError::io(parent, source))?;
        }
        let lock = lock(path)?;
        check_format(path)?;
        Ok(Self {
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Lets another opener have it.
    pub(crate) fn release(&self) {
        self.lock.lock().take();
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| OpenError::io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            folder: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::io(path, source)),
    }
}

fn check_format(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(FORMAT_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_format(&path);
        }
        Err(source) => return Err(OpenError::io(path, source)),
    };
    let found = text
        .trim()
        .strip_prefix(FORMAT_WORDS)
        .and_then(|rest| rest.trim().parse().ok());
    match found {
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat {
            folder: folder.to_owned(),
            found,
            supported: FORMAT,
        }),
        // From here on the folder may hold what the older version does not read.
        Some(found) if found < FORMAT => write_format(&path),
        Some(_) => Ok(()),
        None => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "not a storage format");
            Err(OpenError::io(path, source))
        }
    }
}

fn write_format(path: &Path) -> Result<(), OpenError> {
    let text = format!("{FORMAT_WORDS} {FORMAT}\n");
    write_durably(path, text.as_bytes()).map_err(|source| OpenError::io(path, source))
}

/// Replaces a file as a whole: on return the new content is on disk under its name, and a crash
/// before leaves the old one.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    sync_names(folder)
}

/// Makes the names of the files in a folder durable: a synced file may lack its name after a crash.
pub(crate) fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let first = Folder::open(temp.path()).unwrap();
        assert!(matches!(
            Folder::open(temp.path()),
            Err(OpenError::Locked { .. })
        ));
        drop(first);
        Folder::open(temp.path()).unwrap();
    }

    #[test]
    fn an_older_format_is_taken_over_and_the_older_version_is_kept_away() {
        let temp = tempfile::tempdir().unwrap();
        let format = temp.path().join(FORMAT_FILE);
        fs::write(&format, format!("{FORMAT_WORDS} 1\n")).unwrap();
        drop(Folder::open(temp.path()).unwrap());
        let now = fs::read_to_string(&format).unwrap();
        assert_eq!(now, format!("{FORMAT_WORDS} {FORMAT}\n"));
    }

    #[test]
    fn a_newer_format_is_refused_by_name_and_a_foreign_file_too() {
        let temp = tempfile::tempdir().unwrap();
        drop(Folder::open(temp.path()).unwrap());
        let format = temp.path().join(FORMAT_FILE);
        fs::write(&format, format!("{FORMAT_WORDS} {}\n", FORMAT + 1)).unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert!(matches!(
            error,
            OpenError::NewerFormat {
                found: 4,
                supported: 3,
                ..
            }
        ));
        assert!(
            error.to_string().contains("use the newer version"),
            "{error}"
        );
        fs::write(&format, "something else\n").unwrap();
        assert!(matches!(
            Folder::open(temp.path()),
            Err(OpenError::Io { .. })
        ));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::read_dir(temp.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
