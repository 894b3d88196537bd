//! CPU time of processes, from `/proc/<pid>/stat`.

use std::time::Duration;

use anyhow::Context as _;

/// Clock ticks of `/proc` in a second: fixed for user space on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that the processes have used so far.
pub(crate) fn used(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| used_by(*pid)).sum()
}

fn used_by(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = ticks_of(&stat).with_context(|| format!("{path} has another form"))?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// utime and stime are the 14th and 15th field; the second, in parentheses, may hold spaces.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0";
        assert_eq!(ticks_of(stat), Some(100));
        assert_eq!(ticks_of("nonsense"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(used(&[std::process::id()]).is_ok());
    }
}
