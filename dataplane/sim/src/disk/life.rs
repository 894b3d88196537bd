//! The disk as one process of the node has it, until the process ends or the power is cut.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tessera_shard::{Disk, DiskFile};

use crate::disk::{OTHERS_BYTES, ROOM_BYTES, Shared, State, as_u64, as_usize, power_is_off};

/// The disk as one process has it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) life: u64,
}

impl Life {
    fn with<R>(&self, work: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        with_life(&self.shared, self.life, work)
    }
}

fn with_life<R>(
    shared: &Shared,
    life: u64,
    work: impl FnOnce(&mut State) -> io::Result<R>,
) -> io::Result<R> {
    let mut state = shared.state.lock();
    if state.life != Some(life) {
        return Err(power_is_off());
    }
    let done = work(&mut state);
    if state.life.is_none() {
        shared.cut.notify_one();
    }
    done
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl Disk for Life {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = name_of(path);
        self.with(|state| {
            state.files.entry(name.clone()).or_default();
            Ok(())
        })?;
        Ok(Box::new(OpenFile {
            shared: Arc::clone(&self.shared),
            life: self.life,
            name,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.with(|state| Ok(state.files.contains_key(&name_of(path))))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.files.remove(&name_of(path));
            state.note("remove", &name_of(path), &[]);
            Ok(())
        })
    }

    fn space(&self) -> io::Result<Option<(u64, u64)>> {
        self.with(|state| {
            let used = state.used();
            let room = match state.capacity {
                Some(capacity) => as_u64(capacity.saturating_sub(used)),
                None => ROOM_BYTES,
            };
            Ok(Some((room, room + as_u64(used) + OTHERS_BYTES)))
        })
    }

    fn latency(&self) -> Duration {
        let taken = self.with(|state| Ok(std::mem::take(&mut state.cost)));
        taken.unwrap_or_default()
    }
}

#[derive(Debug)]
struct OpenFile {
    shared: Arc<Shared>,
    life: u64,
    name: String,
}

impl OpenFile {
    fn with<R>(&self, work: impl FnOnce(&mut State, &str) -> io::Result<R>) -> io::Result<R> {
        with_life(&self.shared, self.life, |state| work(state, &self.name))
    }
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state, name| Ok(as_u64(state.image(name)?.len())))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state, name| state.set_len(name, as_usize(len)?))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state, name| {
            state.charge(out.len());
            let bytes = state.image(name)?.read(as_usize(offset)?, out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state, name| state.write(name, as_usize(offset)?, data))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(State::sync)
    }
}
