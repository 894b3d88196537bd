//! One private cluster for the process; a database of its own for each test.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Where the cluster's socket is: short, since a socket's path has at most 107 bytes.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Stops the server and removes its folder as soon as the pipe at its input closes: however this
/// process ends.
const WATCH: &str = r#"
"$@" >"$FOLDER/log" 2>&1 &
server=$!
read -r _
kill -INT "$server"
wait "$server"
rm -rf "$FOLDER"
"#;

struct Cluster {
    folder: PathBuf,
    _watch: Child,
}

/// A database of the cluster, empty.
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let cluster = tokio::task::spawn_blocking(|| &*CLUSTER).await.unwrap();
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut owner = PgConnection::connect(&cluster.url("postgres"))
            .await
            .unwrap();
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&mut owner).await.unwrap();
        Self { name }
    }

    /// Gives the database to an ordinary role, which may take the application's but nothing else,
    /// and returns its address.
    pub(crate) async fn give_to_ordinary_owner(&self) -> String {
        let mut owner = self.owner().await;
        let Self { name } = self;
        for statement in [
            format!("create role owner_of_{name} login"),
            format!("grant tessera_app to owner_of_{name}"),
            format!("alter database {name} owner to owner_of_{name}"),
            format!("alter schema public owner to owner_of_{name}"),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut owner)
                .await
                .unwrap();
        }
        self.url()
            .replace("//tessera@", &format!("//owner_of_{name}@"))
    }

    /// As the owner, through the socket.
    pub(crate) fn url(&self) -> String {
        CLUSTER.url(&self.name)
    }

    /// As the owner, through a port that somebody forwards to the socket.
    pub(crate) fn url_through(&self, port: u16) -> String {
        format!("postgres://tessera@127.0.0.1:{port}/{}", self.name)
    }

    pub(crate) fn socket() -> PathBuf {
        CLUSTER.folder.join(".s.PGSQL.5432")
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

impl Cluster {
    fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("tessera-")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let runner = runner(&folder);
        let data = folder.join("data");
        let made = command(&runner, &programs.join("initdb"), &folder)
            .args([
                "--username=tessera",
                "--auth=trust",
                "--no-sync",
                "--no-locale",
                "--encoding=UTF8",
            ])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let watch = Self::serve(&runner, &programs, &folder, &data);
        let cluster = Self {
            folder,
            _watch: watch,
        };
        cluster.wait_until_ready(&runner, &programs);
        cluster
    }

    fn serve(runner: &[String], programs: &Path, folder: &Path, data: &Path) -> Child {
        let mut words = runner.to_vec();
        words.push(programs.join("postgres").display().to_string());
        Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .args(words)
            .arg("-D")
            .arg(data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.display()))
            .current_dir(folder)
            .env("FOLDER", folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// `pg_ctl` knows when a server has started; it waits by itself.
    fn wait_until_ready(&self, runner: &[String], programs: &Path) {
        let mut ready = command(runner, &programs.join("pg_isready"), &self.folder);
        ready.arg("-q").arg("-h").arg(&self.folder);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !ready.status().unwrap().success() {
            let mut log = String::new();
            let file = std::fs::File::open(self.folder.join("log"));
            drop(file.map(|mut file| file.read_to_string(&mut log)));
            assert!(
                std::time::Instant::now() < deadline,
                "the server does not start: {log}"
            );
            std::thread::yield_now();
        }
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres://tessera@localhost/{database}?host={}",
            self.folder.display()
        )
    }
}

/// The folder of PostgreSQL's programs: that of PATH, else of the newest version installed.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("initdb"));
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    versions.sort_by_key(|folder| {
        let version = folder
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    let versioned = versions.into_iter().map(|folder| folder.join("bin/initdb"));
    let found = on_path.chain(versioned).find_map(|program| {
        // A link may stand on PATH without its siblings.
        let folder = program.canonicalize().ok()?.parent()?.to_path_buf();
        folder.join("pg_isready").exists().then_some(folder)
    });
    found.expect("no PostgreSQL on PATH or in /usr/lib/postgresql: apt-get install postgresql")
}

/// The server refuses root, so as root it runs as the user `postgres`, who then owns the folder.
fn runner(folder: &Path) -> Vec<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Vec::new();
    }
    let owned = Command::new("chown")
        .arg("postgres")
        .arg(folder)
        .status()
        .unwrap();
    assert!(
        owned.success(),
        "there is no user `postgres` to run the server as"
    );
    let words = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--init-groups",
    ];
    words.map(ToOwned::to_owned).to_vec()
}

fn command(runner: &[String], program: &Path, folder: &Path) -> Command {
    let mut command = match runner.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.current_dir(folder);
    command
}
