//! What a control plane is started with, and the files that it reads.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use tessera_tenancy::{FrameKey, GeneratedSecret, SecretKind, ServerKey, decode_hex};

use crate::random::random_bytes;

/// What a control plane is started with.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Where REST and the nodes' streams are served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `postgres://owner@host/database`: its owner, who migrates it. Requests run as the role
    /// `tessera_app`, which row security binds.
    pub database_url: String,
    /// 64 hexadecimal digits: what streams to nodes are signed with. The nodes have the same.
    pub push_key_file: PathBuf,
    /// 64 hexadecimal digits: what secrets are digested under. The nodes have the same.
    pub server_key_file: PathBuf,
    /// A `tsk_…` that is a platform administrator's. Where the file does not exist it is written,
    /// readable for its owner only. While it is named, its key exists.
    pub bootstrap_platform_key_file: Option<PathBuf>,
}

pub(crate) fn read_push_key(path: &Path) -> anyhow::Result<FrameKey> {
    read_key(path).map(FrameKey::from_bytes)
}

pub(crate) fn read_server_key(path: &Path) -> anyhow::Result<ServerKey> {
    read_key(path).map(ServerKey::from_bytes)
}

/// The key in the file; a new one is written where there is no file.
pub(crate) fn read_or_create_platform_key(path: &Path) -> anyhow::Result<GeneratedSecret> {
    match std::fs::read_to_string(path) {
        Ok(text) => GeneratedSecret::parse(SecretKind::ApiKey, text.trim())
            .with_context(|| format!("{} holds no API key", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = GeneratedSecret::from_random(SecretKind::ApiKey, random_bytes()?);
            write_private(path, secret.expose())?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn read_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    decode_hex(text.trim())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| anyhow!("{} does not hold 64 hexadecimal digits", path.display()))
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(context)?;
    writeln!(file, "{text}").with_context(context)?;
    file.sync_all().with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_platform_key_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("platform.key");
        let written = read_or_create_platform_key(&path).unwrap();
        assert_eq!(read_or_create_platform_key(&path).unwrap(), written);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "tsk_nonsense").unwrap();
        assert!(read_or_create_platform_key(&path).is_err());
    }

    #[test]
    fn a_key_file_holds_64_digits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.key");
        for (text, good) in [
            ("ab".repeat(32), true),
            ("ab".into(), false),
            ("zz".repeat(32), false),
        ] {
            std::fs::write(&path, text + "\n").unwrap();
            assert_eq!(read_server_key(&path).is_ok(), good);
        }
        assert!(read_push_key(&folder.path().join("none")).is_err());
    }
}
