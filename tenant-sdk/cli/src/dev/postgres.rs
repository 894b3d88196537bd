//! The private PostgreSQL of development mode.
//!
//! # Contents
//! - [`find`]: whose programs. [`install`]: where there are none.
//! - [`account`]: as whom they run. [`folder_command`]: on a folder below paths closed to them.
//! - [`sockets`]: the one way in. [`cluster`]: made once, started at each start.

pub(crate) mod account;
pub(crate) mod cluster;
pub(crate) mod find;
pub(crate) mod folder_command;
pub(crate) mod install;
pub(crate) mod sockets;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Context as _;

use account::Ids;
use cluster::{Cluster, Existing};
use find::{FindError, Programs, VERSIONED};
use folder_command::Launcher;

/// The folder of sockets stands in here: every Unix has it, and its name is short.
pub(crate) const SOCKETS_PARENT: &str = "/tmp";

/// The cluster of a data folder, ready to be started; made, and PostgreSQL installed, if need be.
pub(crate) async fn open(
    data: &Path,
    search_path: &OsStr,
    password: String,
    say: &dyn Fn(&str),
) -> anyhow::Result<Cluster> {
    let folder = data.join("postgres");
    let existing = Existing::look(&folder)?;
    let caller = Ids {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let major = existing.map(|cluster| cluster.major);
    let programs = find_or_install(search_path, major, caller.uid == 0, say).await?;
    let passwd = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let run_as = account::choose(caller, &passwd, existing.map(|cluster| cluster.owner))?;
    let cluster = Cluster {
        launcher: Launcher::probe(install::on_path(search_path, "setpriv")).await,
        sockets: sockets::prepare(Path::new(SOCKETS_PARENT), data, run_as)
            .context("making the folder of the database's socket")?,
        programs,
        run_as,
        folder,
        password,
    };
    if existing.is_none() {
        say(&format!(
            "making a private PostgreSQL {} cluster",
            cluster.programs.version
        ));
        cluster.create().await?;
    }
    Ok(cluster)
}

async fn find_or_install(
    search_path: &OsStr,
    cluster_major: Option<u32>,
    is_root: bool,
    say: &dyn Fn(&str),
) -> anyhow::Result<Programs> {
    match find::find(search_path, &VERSIONED, cluster_major).await {
        Err(FindError::None) => {
            install::install(search_path, is_root, say).await?;
            Ok(find::find(search_path, &VERSIONED, cluster_major).await?)
        }
        found => Ok(found?),
    }
}

#[cfg(test)]
mod tests;
