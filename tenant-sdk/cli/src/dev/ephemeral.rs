//! Temporary data folders: a new one for each `--ephemeral`, and the end of those that a killed one left.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::folder::DataFolder;
use super::postgres::{SOCKETS_PARENT, sockets};
use super::process::ProcessFile;

/// What each of them is called, before its random digits.
const PREFIX: &str = "tessera-dev-";
/// Random bytes of a name.
const RANDOM_LEN: usize = 6;

/// A path for a new one. The folder is made by who opens it.
pub(crate) fn new_path(parent: &Path) -> anyhow::Result<PathBuf> {
    let mut random = [0; RANDOM_LEN];
    getrandom::fill(&mut random).context("no random bytes")?;
    Ok(parent.join(format!("{PREFIX}{}", tessera_tenancy::encode_hex(&random))))
}

/// Removes those whose `dev` was killed, with what still runs on them. One in use is locked, and one of
/// another user's is passed over: anybody may have planted it.
pub(crate) async fn remove_abandoned(parent: &Path, uid: u32) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let is_named_so = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let is_ours = || fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir() && m.uid() == uid);
        if !is_named_so || !is_ours() {
            continue;
        }
        // Refused: it is in use, or it is something else.
        let Ok(folder) = DataFolder::open(&path) else {
            continue;
        };
        let mut processes = ProcessFile::open(folder.place("processes.json"));
        processes.end_leftovers(folder.root()).await?;
        fs::remove_dir_all(folder.root())?;
        sockets::remove(Path::new(SOCKETS_PARENT), folder.root());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn abandoned_ones_are_removed_and_others_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let uid = fs::metadata(parent.path()).unwrap().uid();
        let abandoned = new_path(parent.path()).unwrap();
        drop(DataFolder::open(&abandoned).unwrap());
        let in_use = new_path(parent.path()).unwrap();
        let _held = DataFolder::open(&in_use).unwrap();
        let foreign = new_path(parent.path()).unwrap();
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.tex"), "x").unwrap();
        let link = new_path(parent.path()).unwrap();
        std::os::unix::fs::symlink(&foreign, &link).unwrap();

        remove_abandoned(parent.path(), uid + 1).await.unwrap();
        assert!(abandoned.exists(), "of another user's");
        remove_abandoned(parent.path(), uid).await.unwrap();
        assert!(!abandoned.exists());
        assert!(in_use.exists() && foreign.join("thesis.tex").exists() && link.is_symlink());
    }
}
