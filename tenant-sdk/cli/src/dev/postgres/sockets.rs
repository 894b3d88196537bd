//! The short private folder of the cluster's Unix socket.
//!
//! A socket's path may have 107 bytes, so it cannot stand in a data folder of any depth. It stands below `/tmp`, under a name made from the data folder's. Since anybody can make a
//! folder there first, one that is not private to the cluster's user is passed over.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::account::{Ids, RunAs};

/// Names that are tried before giving up.
const ATTEMPTS_MAX: u32 = 16;
/// Only its owner enters.
const PRIVATE: u32 = 0o700;

/// Makes the folder, or takes the one that a former start left.
pub(crate) fn prepare(parent: &Path, data: &Path, run_as: RunAs) -> io::Result<PathBuf> {
    for attempt in 0..ATTEMPTS_MAX {
        let folder = parent.join(name(data.as_os_str(), attempt));
        match DirBuilder::new().mode(PRIVATE).create(&folder) {
            Ok(()) => {
                hand_over(&folder, run_as)?;
                return Ok(folder);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_private_to(&folder, run_as.ids()) {
                    return Ok(folder);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!(
            "other users hold every name for the socket folder in {}",
            parent.display()
        ),
    ))
}

/// Removes the folders of a data folder that is gone. One that is not empty stays.
pub(crate) fn remove(parent: &Path, data: &Path) {
    for attempt in 0..ATTEMPTS_MAX {
        // Most of these names were never taken.
        fs::remove_dir(parent.join(name(data.as_os_str(), attempt))).unwrap_or_default();
    }
}

/// Gives a new folder to the user that the cluster runs as.
pub(crate) fn hand_over(folder: &Path, run_as: RunAs) -> io::Result<()> {
    match run_as {
        RunAs::Caller(_) => Ok(()),
        RunAs::Other(Ids { uid, gid }) => chown(folder, Some(uid), Some(gid)),
    }
}

fn is_private_to(folder: &Path, ids: Ids) -> bool {
    // Not followed: a link planted there must not lead elsewhere.
    fs::symlink_metadata(folder).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() == ids.uid && meta.permissions().mode() & 0o777 == PRIVATE
    })
}

fn name(data: &OsStr, attempt: u32) -> String {
    let hash = fnv1a(data.as_bytes());
    match attempt {
        0 => format!("tessera-{hash:016x}"),
        more => format!("tessera-{hash:016x}-{more}"),
    }
}

/// FNV-1a, 64 bits: stable over versions, and nothing secret hangs on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `sun_path` without its closing zero (unix(7)).
    const SOCKET_PATH_LEN_MAX: usize = 107;

    fn caller(folder: &Path) -> RunAs {
        let meta = fs::metadata(folder).unwrap();
        RunAs::Caller(Ids {
            uid: meta.uid(),
            gid: meta.gid(),
        })
    }

    #[test]
    fn the_name_is_short_stable_and_of_one_data_folder() {
        let deep = "/home/somebody/".to_owned() + &"a-long-folder-name/".repeat(40);
        let of = |data: &str| name(OsStr::new(data), 0);
        assert_eq!(of(&deep), of(&deep));
        assert_ne!(of("/a/.tessera/dev"), of("/b/.tessera/dev"));
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c, "the published vector");
        let socket = format!("/tmp/{}/.s.PGSQL.5432.lock", name(OsStr::new(&deep), 15));
        assert!(socket.len() <= SOCKET_PATH_LEN_MAX, "{socket}");
    }

    #[test]
    fn a_former_folder_is_taken_again_and_a_planted_one_passed_over() {
        let parent = tempfile::tempdir().unwrap();
        let data = Path::new("/data");
        let first = prepare(parent.path(), data, caller(parent.path())).unwrap();
        assert_eq!(
            fs::metadata(&first).unwrap().permissions().mode() & 0o777,
            PRIVATE
        );
        assert_eq!(
            prepare(parent.path(), data, caller(parent.path())).unwrap(),
            first
        );

        fs::set_permissions(&first, fs::Permissions::from_mode(0o777)).unwrap();
        let second = prepare(parent.path(), data, caller(parent.path())).unwrap();
        assert_ne!(second, first, "open to others");

        fs::remove_dir(&second).unwrap();
        std::os::unix::fs::symlink(parent.path(), &second).unwrap();
        let third = prepare(parent.path(), data, caller(parent.path())).unwrap();
        assert!(third != first && third != second, "a link");

        fs::write(first.join("in use"), "").unwrap();
        remove(parent.path(), data);
        assert!(first.exists() && second.is_symlink() && !third.exists());
    }
}
