//! What a proposal costs, beside bare redb and a bare file in one run:
//! `cargo bench -p tessera-shard --bench proposals`.
//!
//! Takes about six minutes and ends by itself. Words after `--` choose: `quick` for fewer and
//! shorter rounds, any of `alone`, `batched`, `proposals`, `idle`, `reopen` for these parts only, and
//! `writers=1,256`, `groups=1`, `replicas=3` for these cases only.
//!
//! # How it is measured
//! - Writers are tasks in a closed loop: each proposes 200 bytes as its own tenant, waits for the
//!   answer, and goes on to the next group.
//! - A round of the engine is followed by a round each of what it is compared with: redb that
//!   commits as many records per transaction as the engine just had per fsync, once with a row per
//!   record and once with a row per transaction as the engine's log has it, and a file to which as
//!   many records are appended before an fdatasync.
//! - CPU is that of the whole process, all of its threads and the kernel's part; nothing else runs
//!   in it during a round. So an engine pays for its writers' tasks, and three engines of one
//!   process are counted together.
//! - Fsyncs and bytes are counted where they leave for the files, which are real.

#![expect(clippy::print_stdout, reason = "a measurement tells its figures")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails says where")]

mod alone;
mod arguments;
mod bare;
mod batched;
mod disk;
mod idle;
mod load;
mod machine;
mod measured;
mod nodes;
mod proposals;
mod reopen;

use crate::arguments::{Arguments, Part};

/// Bytes of a command.
pub(crate) const COMMAND_BYTES: usize = 200;

fn main() {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match arguments {
            Arguments::Parts { parts, pace } => {
                for part in parts {
                    match part {
                        Part::Alone => alone::measure(&pace).await,
                        Part::Batched => batched::measure(&pace).await,
                        Part::Proposals => proposals::measure(&pace).await,
                        Part::Idle => idle::measure(&pace),
                        Part::Reopen => reopen::measure(&pace).await,
                    }
                }
            }
            Arguments::IdleChild(replicas) => idle::child(replicas).await,
            Arguments::FillChild(fill) => reopen::child(&fill).await,
        }
    });
}
