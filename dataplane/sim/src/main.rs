//! `tessera-sim run` runs many seeds of the shard engine on all cores, `one` a single one, `twice`
//! compares traces; `service`, `service-one` and `service-twice` do the same with the whole data plane.

#![expect(clippy::print_stdout, reason = "the command's results are its output")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use clap::{Parser, Subcommand};
use tessera_sim::contract::Clause;
use tessera_sim::{
    Course, FaultKind, Outcome, ServiceOutcome, ServiceTally, Tally, run_seed, run_service_seed,
};

/// The shard engine, and the whole data plane, in a made-up world.
#[derive(Debug, Parser)]
#[command(name = "tessera-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds; fails if one of them does.
    Run {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads; one per core if not given.
        #[arg(long)]
        threads: Option<usize>,
        /// Fails as well if a kind of fault, a split or an election never happened.
        #[arg(long)]
        require_all_faults: bool,
    },
    /// Runs each of many seeds twice; fails if the two traces of one differ.
    Twice {
        /// How many.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Runs one seed.
    One {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// Prints every event.
        #[arg(long)]
        trace: bool,
    },
    /// Runs many seeds of the whole data plane; fails if one of them does.
    Service {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads; one per core if not given.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Runs one seed of the whole data plane.
    ServiceOne {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// Prints every event.
        #[arg(long)]
        trace: bool,
        /// Writes what the nodes log to standard error.
        #[arg(long)]
        log: bool,
    },
    /// Runs each of many seeds of the whole data plane twice; fails if the two traces of one differ.
    ServiceTwice {
        /// How many.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
}

fn main() -> std::io::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run {
            seeds,
            from,
            threads,
            require_all_faults,
        } => {
            let tally = run(from, seeds, threads)?;
            let is_missing = require_all_faults && !tally.missing().is_empty();
            Ok(exit(tally.failed.is_empty() && !is_missing))
        }
        Command::Twice { seeds, from } => twice(from, seeds, |seed| {
            let outcome = run_seed(seed, Course::Full, true)?;
            Ok((outcome.trace_hash, outcome.lines))
        }),
        Command::One { seed, trace } => one(seed, trace),
        Command::Service {
            seeds,
            from,
            threads,
        } => {
            let tally = service(from, seeds, threads)?;
            Ok(exit(tally.failed.is_empty()))
        }
        Command::ServiceOne { seed, trace, log } => {
            if log {
                tracing_subscriber::fmt()
                    .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
                    .with_writer(std::io::stderr)
                    .without_time()
                    .init();
            }
            service_one(seed, trace)
        }
        Command::ServiceTwice { seeds, from } => twice(from, seeds, |seed| {
            let outcome = run_service_seed(seed, Course::Full, true)?;
            Ok((outcome.trace_hash, outcome.lines))
        }),
    }
}

fn run(from: u64, seeds: u64, threads: Option<usize>) -> std::io::Result<Tally> {
    let (begun, mut tally) = (Instant::now(), Tally::default());
    let one = |seed| run_seed(seed, Course::Full, false);
    run_many(from, seeds, threads, one, |outcome| {
        print_failure(&outcome);
        tally.add(&outcome);
    })?;
    print_tally(&tally, begun.elapsed().as_secs_f64());
    Ok(tally)
}

fn service(from: u64, seeds: u64, threads: Option<usize>) -> std::io::Result<ServiceTally> {
    let (begun, mut tally) = (Instant::now(), ServiceTally::default());
    let one = |seed| run_service_seed(seed, Course::Full, false);
    run_many(from, seeds, threads, one, |outcome| {
        print_service_failure(&outcome);
        tally.add(&outcome);
    })?;
    print_service_tally(&tally, begun.elapsed().as_secs_f64());
    Ok(tally)
}

/// Runs seeds on several threads, and takes their outcomes as they come.
fn run_many<T: Send>(
    from: u64,
    seeds: u64,
    threads: Option<usize>,
    run_one: impl Fn(u64) -> std::io::Result<T> + Sync,
    mut take: impl FnMut(T),
) -> std::io::Result<()> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cores).max(1);
    let (next, until) = (AtomicU64::new(from), from.saturating_add(seeds));
    let (outcomes, finished) = sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (outcomes, next, run_one) = (outcomes.clone(), &next, &run_one);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= until || outcomes.send(run_one(seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(outcomes);
        for outcome in finished {
            take(outcome?);
        }
        Ok(())
    })
}

/// `run_one` gives a seed's hash and the lines of its trace.
fn twice(
    from: u64,
    seeds: u64,
    run_one: impl Fn(u64) -> std::io::Result<(u64, Vec<String>)>,
) -> std::io::Result<ExitCode> {
    let mut differing = 0u64;
    for seed in from..from.saturating_add(seeds) {
        let (first, second) = (run_one(seed)?, run_one(seed)?);
        if first == second {
            continue;
        }
        differing += 1;
        println!("seed {seed} differs");
        let lines = first.1.iter().zip(&second.1);
        if let Some((a, b)) = lines.into_iter().find(|(a, b)| a != b) {
            println!("  {a}\n  {b}");
        }
    }
    println!("{} the same, {differing} differ", seeds - differing);
    Ok(exit(differing == 0))
}

fn one(seed: u64, is_traced: bool) -> std::io::Result<ExitCode> {
    let begun = Instant::now();
    let outcome = run_seed(seed, Course::Full, is_traced)?;
    for line in &outcome.lines {
        println!("{line}");
    }
    print_failure(&outcome);
    println!(
        "trace {:016x} of {} events",
        outcome.trace_hash, outcome.events
    );
    let mut tally = Tally::default();
    tally.add(&outcome);
    print_tally(&tally, begun.elapsed().as_secs_f64());
    Ok(exit(outcome.violation.is_none()))
}

fn service_one(seed: u64, is_traced: bool) -> std::io::Result<ExitCode> {
    let begun = Instant::now();
    let outcome = run_service_seed(seed, Course::Full, is_traced)?;
    for line in &outcome.lines {
        println!("{line}");
    }
    print_service_failure(&outcome);
    println!(
        "trace {:016x} of {} events",
        outcome.trace_hash, outcome.events
    );
    let mut tally = ServiceTally::default();
    tally.add(&outcome);
    print_service_tally(&tally, begun.elapsed().as_secs_f64());
    Ok(exit(outcome.violation.is_none()))
}

fn print_service_failure(outcome: &ServiceOutcome) {
    if let Some(violation) = &outcome.violation {
        println!("seed {} failed: {violation}", outcome.seed);
    }
}

fn print_service_tally(tally: &ServiceTally, seconds: f64) {
    let seeds = tally.passed + count(&tally.failed);
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let per_second = seeds as f64 / seconds;
    println!(
        "{per_second:.2} seeds/s, {} events, {:.0} s simulated in {seconds:.1} s",
        tally.events,
        tally.simulated.as_secs_f64()
    );
    let counts = &tally.counts;
    println!(
        "publishes acknowledged {}, deliveries {}, retained reads {}",
        counts.acknowledged, counts.deliveries, counts.retained_reads
    );
    println!(
        "connections {}, takeovers {}, splits {}",
        counts.connections, counts.takeovers, tally.splits
    );
    for (clause, judged) in Clause::ALL.into_iter().zip(counts.judged) {
        println!("{}: {judged} judged", clause.name());
    }
    for (fault, times) in &tally.faults {
        println!("fault {}: {times}", fault.name());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
}

fn print_failure(outcome: &Outcome) {
    if let Some(violation) = &outcome.violation {
        println!("seed {} failed: {violation}", outcome.seed);
    }
}

fn print_tally(tally: &Tally, seconds: f64) {
    let seeds = tally.passed + count(&tally.failed);
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let per_second = seeds as f64 / seconds;
    println!(
        "{per_second:.2} seeds/s, {} events, {:.0} s simulated in {seconds:.1} s",
        tally.events,
        tally.simulated.as_secs_f64()
    );
    for name in tally.missing() {
        println!("never happened: {name}");
    }
    println!(
        "operations acknowledged {}, unknown {}",
        tally.acknowledged, tally.unknown
    );
    for fault in FaultKind::ALL {
        println!("fault {}: {}", fault.name(), tally.times(fault));
    }
    println!("splits {}", tally.splits);
    println!("elections {}", tally.elections);
    println!("{} passed, {} failed", tally.passed, tally.failed.len());
}

fn count(seeds: &[u64]) -> u64 {
    u64::try_from(seeds.len()).unwrap_or(u64::MAX)
}

fn exit(is_passed: bool) -> ExitCode {
    if is_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
