//! A `tessera dev` of a test's own, and waiting for what it does.

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// What anything may take on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub(crate) const TESSERA: &str = env!("CARGO_BIN_EXE_tessera");

/// A place for a data folder and what belongs to it. Nobody else can enter it, like a home folder.
pub(crate) struct Place {
    root: TempDir,
    pub(crate) mqtt_port: u16,
    pub(crate) api_port: u16,
}

/// A running `dev`; killed when dropped, after which its children end by themselves.
pub(crate) struct Dev {
    child: Child,
    stderr: PathBuf,
    stdout: PathBuf,
    ready_path: PathBuf,
    pub(crate) ready: Value,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            root,
            mqtt_port: free_port(),
            api_port: free_port(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A `dev` that is not started yet; its output goes to files.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(TESSERA);
        command
            .arg("dev")
            .arg("--data-dir")
            .arg(self.data())
            .arg("--ready-file")
            .arg(self.path("ready.json"))
            .args(["--mqtt-port", &self.mqtt_port.to_string()])
            .args(["--api-port", &self.api_port.to_string()])
            .env_remove("DATABASE_URL")
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn start(&self) -> Dev {
        self.start_with(self.command()).await
    }

    pub(crate) async fn start_with(&self, mut command: Command) -> Dev {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let ready_path = self.path("ready.json");
        // A killed one leaves its file until the next start removes it.
        let former = fs::read(&ready_path)
            .map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        let child = command
            .stdout(fs::File::create(&stdout).unwrap())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut dev = Dev {
            child,
            stderr,
            stdout,
            ready_path,
            ready: Value::Null,
        };
        dev.until_ready_again(&former).await;
        dev
    }

    /// A client verb with this installation's context.
    pub(crate) async fn tessera(&self, line: &str) -> Output {
        Command::new(TESSERA)
            .args(line.split_whitespace())
            .env("TESSERA_CONTEXT", self.data().join("dev.json"))
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    }
}

impl Dev {
    /// Waits for a ready file that differs from `before`, and reads it.
    pub(crate) async fn until_ready_again(&mut self, before: &Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let read = fs::read(&self.ready_path).ok();
            let now: Option<Value> = read.map(|bytes| serde_json::from_slice(&bytes).unwrap());
            if let Some(now) = now
                && now != *before
            {
                self.ready = now;
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "dev ended: {ended:?}\n{}", self.stderr());
            assert!(
                Instant::now() < deadline,
                "not ready in time\n{}",
                self.stderr()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Process ids of node, control plane and PostgreSQL.
    pub(crate) fn pids(&self) -> [u32; 3] {
        let ready = &self.ready;
        [
            &ready["node_pids"][0],
            &ready["control_pid"],
            &ready["postgres_pid"],
        ]
        .map(|pid| u32::try_from(pid.as_u64().unwrap()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.child.id().unwrap(), signal);
    }

    /// Ends it in good order, so that nothing is left of it anywhere.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended().await.success(), "{}", self.stderr());
    }

    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Processes that have the folder in their arguments.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

/// Looks again and again until it holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port of this test's own: below those that the kernel gives out by itself, and no two alike.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 1_000).unwrap() * 16;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a process was started with, but for its end with its parent.
pub(crate) fn arguments_of(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    text(&line)
        .split_terminator('\0')
        .skip(1)
        .filter(|argument| *argument != "--exit-with-parent")
        .map(str::to_owned)
        .collect()
}
