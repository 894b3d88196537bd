//! How the engine's writers run: OS threads, or tasks of one runtime in a simulation.
//!
//! A writer is a [`Work`]: a plain value that is given what was queued. Who calls it, and how
//! it waits, is decided here and nowhere else.

use std::io;
use std::thread;

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::disk::Storage;

/// How the engine's writers (the log's and one per state file) run, and blocking reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Workers {
    /// Each on a thread of its own; blocking reads on the runtime's blocking threads. Files block,
    /// and the runtime must not.
    #[default]
    Threads,
    /// As tasks of the runtime in which the engine is opened, and blocking reads in place. On a
    /// runtime of one thread everything that the engine does is then in one order, which a seed
    /// can repeat. Only for simulations.
    Tasks,
}

impl Workers {
    /// Runs something that blocks for file I/O. `None` if it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.ok(),
            Self::Tasks => Some(work()),
        }
    }
}

/// What a writer does with what was queued for it. Never called twice at once.
pub(crate) trait Work: Send + 'static {
    type Item: Send + 'static;
    /// What is told to others once the disk has done what it was asked.
    type Done: Send;

    /// When it wants to be called though nothing is queued.
    fn due_at(&self) -> Option<Instant>;

    /// Does everything queued, in order. Blocks for file I/O.
    fn work(&mut self, items: Vec<Self::Item>) -> Self::Done;

    /// Tells whoever waits for what was done.
    fn finish(&mut self, done: Self::Done);

    /// The last call, after the lane was closed.
    fn end(&mut self) {}
}

/// The queue of a writer. Cheap to clone. Bounded by its users.
pub(crate) struct Lane<T>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    wake: Wake,
}

struct Queue<T> {
    items: Vec<T>,
    is_urgent: bool,
    is_closed: bool,
}

enum Wake {
    Thread(Condvar),
    Task(Notify),
}

/// What a writer finds when it looks.
enum Found<T> {
    Items(Vec<T>),
    Nothing,
    End,
}

impl<T> Clone for Lane<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Lane<T> {
    pub(crate) fn new(workers: Workers) -> Self {
        let wake = match workers {
            Workers::Threads => Wake::Thread(Condvar::new()),
            Workers::Tasks => Wake::Task(Notify::new()),
        };
        let queue = Queue {
            items: Vec::new(),
            is_urgent: false,
            is_closed: false,
        };
        Self(Arc::new(Shared {
            queue: Mutex::new(queue),
            wake,
        }))
    }

    /// Queues an item; what is not urgent waits for something that is. Given back once closed.
    pub(crate) fn push(&self, item: T, is_urgent: bool) -> Result<(), T> {
        let mut queue = self.0.queue.lock();
        if queue.is_closed {
            return Err(item);
        }
        queue.items.push(item);
        if is_urgent && !queue.is_urgent {
            queue.is_urgent = true;
            drop(queue);
            self.0.wake();
        }
        Ok(())
    }

    /// Takes nothing any more; the writer does what is queued and ends.
    pub(crate) fn begin_close(&self) {
        self.0.queue.lock().is_closed = true;
        self.0.wake();
    }

    /// Starts the writer.
    pub(crate) fn start(
        &self,
        name: &str,
        storage: &Storage,
        mut work: impl Work<Item = T>,
    ) -> io::Result<Worker> {
        let shared = Arc::clone(&self.0);
        let running = match &self.0.wake {
            Wake::Thread(_) => Running::Thread(
                thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || shared.run_thread(&mut work))?,
            ),
            Wake::Task(_) => {
                let storage = storage.clone();
                Running::Task(tokio::spawn(async move {
                    shared.run_task(work, storage).await;
                }))
            }
        };
        Ok(Worker(Mutex::new(Some(running))))
    }
}

impl<T> Shared<T> {
    fn wake(&self) {
        match &self.wake {
            Wake::Thread(condvar) => {
                condvar.notify_one();
            }
            Wake::Task(notify) => notify.notify_one(),
        }
    }

    fn run_thread(&self, work: &mut impl Work<Item = T>) {
        while let Some(items) = self.next_blocking(work.due_at()) {
            let done = work.work(items);
            work.finish(done);
        }
        work.end();
    }

    /// Everything queued, once there is something urgent or the writer is due; `None` at the end.
    fn next_blocking(&self, due_at: Option<Instant>) -> Option<Vec<T>> {
        let Wake::Thread(condvar) = &self.wake else {
            return None;
        };
        let mut queue = self.queue.lock();
        loop {
            match queue.take(due_at) {
                Found::Items(items) => return Some(items),
                Found::End => return None,
                Found::Nothing => match due_at {
                    None => condvar.wait(&mut queue),
                    Some(due_at) => {
                        condvar.wait_until(&mut queue, due_at.into_std());
                    }
                },
            }
        }
    }

    async fn run_task(&self, mut work: impl Work<Item = T>, storage: Storage) {
        while let Some(items) = self.next(work.due_at()).await {
            let done = work.work(items);
            // At least a yield: a crash may come between the disk and what is told of it.
            tokio::task::yield_now().await;
            let latency = storage.latency();
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            work.finish(done);
        }
        work.end();
    }

    async fn next(&self, due_at: Option<Instant>) -> Option<Vec<T>> {
        let Wake::Task(notify) = &self.wake else {
            return None;
        };
        loop {
            let found = self.queue.lock().take(due_at);
            match found {
                Found::Items(items) => return Some(items),
                Found::End => return None,
                Found::Nothing => match due_at {
                    None => notify.notified().await,
                    Some(due_at) => {
                        // Woken or due: either way it looks again.
                        let _woken = tokio::time::timeout_at(due_at, notify.notified()).await;
                    }
                },
            }
        }
    }
}

impl<T> Queue<T> {
    fn take(&mut self, due_at: Option<Instant>) -> Found<T> {
        let is_due = || due_at.is_some_and(|due_at| due_at <= Instant::now());
        if self.is_urgent || (!self.is_closed && is_due()) {
            self.is_urgent = false;
            return Found::Items(std::mem::take(&mut self.items));
        }
        if !self.is_closed {
            return Found::Nothing;
        }
        if self.items.is_empty() {
            return Found::End;
        }
        Found::Items(std::mem::take(&mut self.items))
    }
}

/// A started writer.
pub(crate) struct Worker(Mutex<Option<Running>>);

enum Running {
    Thread(thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Worker {
    /// Returns once the writer has ended, which it does after its lane was closed. An error if it
    /// panicked.
    pub(crate) async fn join(&self) -> Result<(), &'static str> {
        let running = self.0.lock().take();
        let ended = match running {
            None => true,
            Some(Running::Thread(thread)) => {
                let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
                joined.unwrap_or(false)
            }
            Some(Running::Task(task)) => task.await.is_ok(),
        };
        ended.then_some(()).ok_or("the worker panicked")
    }
}
