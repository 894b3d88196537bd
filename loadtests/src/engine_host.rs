//! A process with shard engines in it, one node or three, to be driven from outside and killed.
//!
//! - `machine`: what is replicated. `nodes`: the engines, and what is asked of them.
//!
//! It listens on a port of the loopback that it names on standard output once it has opened its
//! folders, answers a write only after the engine did, and ends when its standard input does: with
//! whoever started it. The lines are those of `engine_wire`.

mod machine;
mod nodes;

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::engine_host::nodes::Nodes;
use crate::engine_wire::{Answer, ROWS_PER_ANSWER, Request, put_line, read_line};

/// Requests of one connection that are not answered yet.
const REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Answers of one connection that wait to be written.
const ANSWERS_QUEUED_MAX: usize = 64;

/// How a host is started.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostOptions {
    /// Nodes in the process: 1, or 3 that are joined
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3))]
    nodes: u64,
    /// Where they store, each in a folder of its own
    #[arg(long)]
    folder: PathBuf,
}

/// Serves until standard input ends or the storage of a node fails.
pub(crate) async fn run(options: &HostOptions) -> anyhow::Result<()> {
    // What the engine warns of: read when a round finds something.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    tokio::select! {
        _ended = end_of_input() => Ok(()),
        served = open_and_serve(options) => served,
    }
}

/// On a thread of its own: nothing else ends a read that blocks.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut [0; 64]), Ok(1..)) {}
        drop(ended);
    });
    end
}

async fn open_and_serve(options: &HostOptions) -> anyhow::Result<()> {
    let nodes = Arc::new(Nodes::open(&options.folder, options.nodes).await?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    tokio::select! {
        error = nodes.failed() => Err(error),
        error = accept(&listener, &nodes) => Err(error),
    }
}

async fn accept(listener: &TcpListener, nodes: &Arc<Nodes>) -> anyhow::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Whoever is gone needs no answers.
                tokio::spawn(serve(stream, Arc::clone(nodes)));
            }
            Err(error) => return error.into(),
        }
    }
}

async fn serve(stream: TcpStream, nodes: Arc<Nodes>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let (answers, queued) = mpsc::channel(ANSWERS_QUEUED_MAX);
    tokio::spawn(write_answers(writer, queued));
    let in_flight = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX));
    let mut reader = BufReader::new(reader);
    while let Some(request) = read_line(&mut reader).await? {
        let permit = Arc::clone(&in_flight).acquire_owned().await?;
        let (nodes, answers) = (Arc::clone(&nodes), answers.clone());
        tokio::spawn(async move {
            for answer in answer(&nodes, request).await {
                if answers.send(answer).await.is_err() {
                    break;
                }
            }
            drop(permit);
        });
    }
    Ok(())
}

async fn answer(nodes: &Nodes, request: Request) -> Vec<Answer> {
    let answer = match request {
        Request::Write { node, id, text } => nodes.write(node, id, &text).await,
        Request::Split { id, if_larger } => nodes.split(id, if_larger).await,
        Request::Replicas => match nodes.replicas().await {
            Ok(replicas) => Answer::Replicas(replicas),
            Err(error) => not_ready(&error),
        },
        Request::Rows { node } => match nodes.rows(node).await {
            Ok(rows) => {
                let some = rows.chunks(ROWS_PER_ANSWER);
                let answers = some.map(|rows| Answer::Rows(rows.to_vec()));
                return answers.chain(std::iter::once(Answer::RowsEnd)).collect();
            }
            Err(error) => not_ready(&error),
        },
        Request::IsOwned { node, id } => Answer::IsOwned(nodes.is_owned(node, id)),
    };
    vec![answer]
}

fn not_ready(error: &anyhow::Error) -> Answer {
    let why = format!("{error:#}");
    Answer::NotReady { why }
}

async fn write_answers(
    mut writer: OwnedWriteHalf,
    mut queued: mpsc::Receiver<Answer>,
) -> anyhow::Result<()> {
    let (mut some, mut out) = (Vec::new(), Vec::new());
    while queued.recv_many(&mut some, ANSWERS_QUEUED_MAX).await > 0 {
        for answer in some.drain(..) {
            put_line(&mut out, &answer)?;
        }
        writer.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}
