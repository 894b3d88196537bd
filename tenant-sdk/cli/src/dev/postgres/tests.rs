//! The whole of it with a real PostgreSQL: as the caller, who may be root, below a closed folder.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::account::{Ids, RunAs};
use super::cluster::{Cluster, Existing};
use super::find::{self, VERSIONED};
use super::folder_command::Launcher;
use super::sockets;
use crate::dev::process::signal_child;

/// A machine under load needs a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data folder that only the caller can enter, as a home folder is.
struct Place {
    _root: TempDir,
    data: PathBuf,
    sockets_parent: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let data = root.path().join("home of ü/.tessera/dev");
        fs::create_dir_all(&data).unwrap();
        let sockets_parent = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(sockets_parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            _root: root,
            data,
            sockets_parent,
        }
    }

    async fn cluster(&self) -> Cluster {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let caller = fs::metadata(&self.data).unwrap();
        let caller = Ids {
            uid: caller.uid(),
            gid: caller.gid(),
        };
        let folder = self.data.join("postgres");
        let existing = Existing::look(&folder).unwrap();
        let run_as =
            super::account::choose(caller, &passwd, existing.map(|known| known.owner)).unwrap();
        Cluster {
            programs: find::find("".as_ref(), &VERSIONED, existing.map(|known| known.major))
                .await
                .unwrap(),
            launcher: Launcher::probe(Some("/usr/bin/setpriv".into())).await,
            run_as,
            sockets: sockets::prepare(self.sockets_parent.path(), &self.data, run_as).unwrap(),
            folder,
            password: "Secret0".to_owned(),
        }
    }

    fn log(&self) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.data.join("log"))
            .unwrap()
    }
}

async fn ready(cluster: &Cluster, child: &mut Child, place: &Place) {
    let deadline = Instant::now() + PATIENCE;
    while !cluster.is_ready(child.id().unwrap()) {
        assert!(child.try_wait().unwrap().is_none(), "{}", log_text(place));
        assert!(Instant::now() < deadline, "{}", log_text(place));
        sleep(Duration::from_millis(10)).await;
    }
}

fn log_text(place: &Place) -> String {
    fs::read_to_string(place.data.join("log")).unwrap()
}

/// Speaks just enough of the protocol to see which authentication is asked for (code 10 is SASL).
async fn asked_authentication(socket: &Path, user: &str) -> Result<i32, String> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(|error| error.to_string())?;
    let body = format!("\0\u{3}\0\0user\0{user}\0database\0tessera\0\0");
    let length = u32::try_from(body.len() + 4).unwrap();
    stream
        .write_all(&[&length.to_be_bytes(), body.as_bytes()].concat())
        .await
        .unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    let mut rest =
        vec![0; usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap() - 4];
    stream.read_exact(&mut rest).await.unwrap();
    match head[0] {
        b'R' => Ok(i32::from_be_bytes(rest[..4].try_into().unwrap())),
        _ => Err(String::from_utf8_lossy(&rest).into_owned()),
    }
}

fn ids_of(pid: u32) -> (String, String) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    (field("Uid:"), field("Groups:"))
}

#[tokio::test]
async fn a_cluster_below_a_closed_folder_is_made_started_stopped_and_started_again() {
    let place = Place::new();
    let cluster = place.cluster().await;
    cluster.create().await.unwrap();
    let names: Vec<_> = fs::read_dir(&place.data)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["postgres"], "nothing unfinished is left");

    for _start in 0..2 {
        let again = place.cluster().await;
        assert_eq!(again.run_as, cluster.run_as);
        let mut child = again.start(place.log()).unwrap();
        ready(&again, &mut child, &place).await;
        let pid = child.id().unwrap();

        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments = String::from_utf8(arguments).unwrap();
        assert!(
            arguments.contains(place.data.to_str().unwrap()),
            "{arguments:?}"
        );
        assert!(
            !arguments.contains("Secret0"),
            "the password is in no argument"
        );
        if let RunAs::Other(ids) = again.run_as {
            let (uid, groups) = ids_of(pid);
            assert!(uid.starts_with(&ids.uid.to_string()), "{uid}");
            assert_eq!(groups, "", "root's groups are dropped");
        }
        let socket = again.sockets.join(".s.PGSQL.5432");
        assert_eq!(asked_authentication(&socket, "tessera").await, Ok(10));
        assert!(
            asked_authentication(&socket, "postgres").await.is_err(),
            "nobody else comes in"
        );

        signal_child(pid, rustix::process::Signal::INT);
        assert!(
            timeout(PATIENCE, child.wait())
                .await
                .unwrap()
                .unwrap()
                .success()
        );
    }
    assert!(
        log_text(&place).contains("fast shutdown"),
        "{}",
        log_text(&place)
    );
}

#[tokio::test]
async fn a_stale_pid_file_does_not_keep_the_server_down() {
    let place = Place::new();
    let cluster = place.cluster().await;
    cluster.create().await.unwrap();
    // As after a crash whose process id is this test's by now.
    let stale = format!(
        "{}\n/elsewhere\n1\n5432\n/tmp\n\n1 1\nready   \n",
        std::process::id()
    );
    fs::write(cluster.folder.join("postmaster.pid"), stale).unwrap();
    let mut child = cluster.start(place.log()).unwrap();
    ready(&cluster, &mut child, &place).await;
    signal_child(child.id().unwrap(), rustix::process::Signal::INT);
    timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_interrupted_creation_is_begun_anew() {
    let place = Place::new();
    let half = place.data.join("postgres.new-1");
    fs::create_dir_all(half.join("base")).unwrap();
    let cluster = place.cluster().await;
    cluster.create().await.unwrap();
    assert!(!half.exists());
    assert!(Existing::look(&cluster.folder).unwrap().is_some());
}
