//! Supervision of real processes, which are shell scripts here.

use std::path::PathBuf;

use rustix::process::Signal;
use tessera_sdk::rest::{Client, RetryPolicy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::dev::child::{Kind, OwnProgram};
use crate::dev::process::signal_child;

struct Supervised {
    folder: tempfile::TempDir,
    stop: watch::Sender<Stop>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<io::Result<()>>,
}

/// Supervises a script whose name holds the folder's path; it is ready when `probe` answers.
fn supervised(script: &str, probe: Client) -> Supervised {
    let folder = tempfile::tempdir().unwrap();
    let program = Program {
        role: Role::Node,
        log: folder.path().join("node.log"),
        kind: Kind::Own(OwnProgram {
            executable: PathBuf::from("sh"),
            arguments: vec!["-c".into(), script.into(), folder.path().into()],
            environment: Vec::new(),
            probe,
        }),
    };
    let processes = Arc::new(Mutex::new(ProcessFile::open(folder.path().join("p.json"))));
    let (stop, told) = watch::channel(Stop::No);
    let (sender, events) = mpsc::channel(16);
    let task = tokio::spawn(supervise(program, processes, told, sender));
    Supervised {
        folder,
        stop,
        events,
        task,
    }
}

fn probe(address: String) -> Client {
    let once = RetryPolicy {
        attempts_max: 1,
        ..RetryPolicy::default()
    };
    Client::builder(address).retry(once).build().unwrap()
}

/// Something that always says it is ready.
async fn ready() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    probe(address)
}

/// Nobody listens there.
async fn never_ready() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    probe(format!("http://{}", listener.local_addr().unwrap()))
}

impl Supervised {
    async fn ready_pid(&mut self) -> u32 {
        match self.events.recv().await.unwrap() {
            Event::Ready { pid, .. } => pid,
            event @ (Event::Ended { .. } | Event::GaveUp { .. }) => panic!("{event:?}"),
        }
    }

    async fn stopped(self) {
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_process_that_never_becomes_ready_is_given_up_with_the_end_of_its_log() {
    let mut it = supervised("echo 'port taken' >&2; exit 3", never_ready().await);
    for short_life in 1..STARTS_MAX {
        let event = it.events.recv().await.unwrap();
        assert!(
            matches!(event, Event::Ended { .. }),
            "{short_life}: {event:?}"
        );
    }
    let gave_up = Event::GaveUp {
        role: Role::Node,
        how: "exited with code 3".into(),
        log: vec!["port taken"; usize::try_from(STARTS_MAX).unwrap()].join("\n"),
    };
    assert_eq!(it.events.recv().await.unwrap(), gave_up);
    it.stopped().await;
}

#[tokio::test]
async fn a_process_that_is_killed_is_started_again_and_ends_when_told() {
    let mut it = supervised("read line", ready().await);
    let first = it.ready_pid().await;
    signal_child(first, Signal::KILL);
    let ended = Event::Ended {
        role: Role::Node,
        how: "was ended by a signal: 9 (SIGKILL)".into(),
        pause: Duration::from_millis(100),
    };
    assert_eq!(it.events.recv().await.unwrap(), ended);
    let second = it.ready_pid().await;
    assert_ne!(first, second);
    let record = ProcessRecord::of(Role::Node, second).unwrap();
    it.stop.send_replace(Stop::Gracefully);
    let folder = it.folder.path().to_owned();
    it.stopped().await;
    assert!(!record.is_running(&folder));
}

#[tokio::test]
async fn one_that_ignores_the_request_is_killed_when_asked_twice() {
    let mut it = supervised(
        "trap '' TERM; while :; do read line || :; done",
        ready().await,
    );
    it.ready_pid().await;
    it.stop.send_replace(Stop::Gracefully);
    it.stop.send_replace(Stop::AtOnce);
    let begun = Instant::now();
    it.stopped().await;
    assert!(
        begun.elapsed() < GRACE,
        "without waiting for the whole grace"
    );
}

#[tokio::test]
async fn a_stop_during_the_pause_is_heard() {
    let mut it = supervised("exit 1", never_ready().await);
    it.events.recv().await.unwrap();
    it.stop.send_replace(Stop::Gracefully);
    it.stopped().await;
}
