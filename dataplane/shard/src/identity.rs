//! Who this node is: ids and the incarnation counter, on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tessera_tenancy::{ClusterId, Incarnation, NodeId};

use crate::folder::write_durably;

const IDENTITY_FILE: &str = "identity";
/// The first line: what the file is, and its form.
const FORM: &str = "tessera node identity 1";

/// Random bytes that a new identity takes: 8 for the node, 16 for the cluster.
pub const IDENTITY_RANDOM_LEN: usize = 24;

/// Why an identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is an identity already; it is never overwritten.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is none: the node was never initialised.
    #[error("{} is not there: initialise the node first", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged or of a newer version.
    #[error("{} is not an identity that this version reads", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// A node's ids and which life of its process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This life of the process.
    pub incarnation: Incarnation,
}

impl NodeIdentity {
    /// Makes a node and its cluster, incarnation 1. The folder is made if it is not there.
    pub fn create(folder: &Path, random: [u8; IDENTITY_RANDOM_LEN]) -> Result<Self, IdentityError> {
        let path = folder.join(IDENTITY_FILE);
        fs::create_dir_all(folder).map_err(|source| io_error(folder, source))?;
        if path
            .try_exists()
            .map_err(|source| io_error(&path, source))?
        {
            return Err(IdentityError::Exists { path });
        }
        let (mut node, mut cluster) = ([0; 8], [0; 16]);
        node.copy_from_slice(&random[..8]);
        cluster.copy_from_slice(&random[8..]);
        let identity = Self {
            node: NodeId(u64::from_le_bytes(node)),
            cluster: ClusterId::from_bytes(cluster),
            incarnation: Incarnation(1),
        };
        identity.write(&path)?;
        Ok(identity)
    }

    /// Reads the identity and begins its next life: the incarnation on disk is one larger before
    /// this returns.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(IDENTITY_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing { path });
            }
            Err(error) => return Err(io_error(&path, error)),
        };
        let read = std::str::from_utf8(&bytes).ok().and_then(Self::parse);
        let Some(mut identity) = read else {
            return Err(IdentityError::Damaged { path });
        };
        identity.incarnation = Incarnation(identity.incarnation.0 + 1);
        identity.write(&path)?;
        Ok(identity)
    }

    fn write(&self, path: &Path) -> Result<(), IdentityError> {
        let body = self.body();
        let text = format!("{body}check {:08x}\n", crc32fast::hash(body.as_bytes()));
        write_durably(path, text.as_bytes()).map_err(|source| io_error(path, source))
    }

    fn body(&self) -> String {
        let Self {
            node,
            cluster,
            incarnation,
        } = self;
        format!(
            "{FORM}\nnode {:016x}\ncluster {cluster}\nincarnation {incarnation}\n",
            node.0
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |word: &str| lines.next()?.strip_prefix(word);
        value(FORM).filter(|rest| rest.is_empty())?;
        let identity = Self {
            node: NodeId(u64::from_str_radix(value("node ")?, 16).ok()?),
            cluster: value("cluster ")?.parse().ok()?,
            incarnation: Incarnation(value("incarnation ")?.parse().ok()?),
        };
        let check = u32::from_str_radix(value("check ")?, 16).ok()?;
        (crc32fast::hash(identity.body().as_bytes()) == check).then_some(identity)
    }
}

fn io_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_opening_is_a_new_life_of_the_same_node() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("new");
        let made = NodeIdentity::create(&folder, [7; IDENTITY_RANDOM_LEN]).unwrap();
        assert_eq!(made.incarnation, Incarnation(1));
        for life in 2..5 {
            let opened = NodeIdentity::open(&folder).unwrap();
            assert_eq!(
                opened,
                NodeIdentity {
                    incarnation: Incarnation(life),
                    ..made
                }
            );
        }
    }

    #[test]
    fn an_identity_is_never_overwritten_and_never_made_by_opening() {
        let temp = tempfile::tempdir().unwrap();
        assert!(matches!(
            NodeIdentity::open(temp.path()),
            Err(IdentityError::Missing { .. })
        ));
        NodeIdentity::create(temp.path(), [1; IDENTITY_RANDOM_LEN]).unwrap();
        let again = NodeIdentity::create(temp.path(), [2; IDENTITY_RANDOM_LEN]);
        assert!(matches!(again, Err(IdentityError::Exists { .. })));
    }

    #[test]
    fn any_changed_byte_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        NodeIdentity::create(temp.path(), [1; IDENTITY_RANDOM_LEN]).unwrap();
        let path = temp.path().join(IDENTITY_FILE);
        let whole = fs::read(&path).unwrap();
        // The last byte is the line feed.
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            let opened = NodeIdentity::open(temp.path());
            assert!(
                matches!(opened, Err(IdentityError::Damaged { .. })),
                "byte {at}"
            );
        }
    }

    #[test]
    fn different_random_bytes_make_different_nodes_and_clusters() {
        let temp = tempfile::tempdir().unwrap();
        let a = NodeIdentity::create(&temp.path().join("a"), [1; IDENTITY_RANDOM_LEN]).unwrap();
        let b = NodeIdentity::create(&temp.path().join("b"), [2; IDENTITY_RANDOM_LEN]).unwrap();
        assert!(a.node != b.node && a.cluster != b.cluster);
    }
}
