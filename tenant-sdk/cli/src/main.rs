//! `tessera`: the one binary. Client verbs for customers and operators; with the feature `server`, on
//! by default, also the data node, the control plane and development mode.
//!
//! # Contents
//! - [`command_line`]: verbs and options. [`exit`]: exit codes and how an error is told.
//! - [`context`]: what client verbs know of an installation. [`access`]: where they turn to.
//! - [`output`]: tables for people, JSON for programs.
//! - [`verbs`]: `tenant`, `credential`, `quota`, `pub`, `sub`.
//! - [`serve`]: `node` and `control`. [`dev`]: development mode.
//!
//! # Invariants
//! - Results go to standard output, everything else to standard error.
//! - Environment variables are read by the command line's parser only.
//! - No secret is asked for on the command line without a way to give it by environment.

mod access;
mod command_line;
mod context;
mod exit;
mod output;
mod verbs;

#[cfg(feature = "server")]
mod dev;
#[cfg(feature = "server")]
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Parsing ends the process by itself on `--help`, `--version` and with code 2 on a wrong usage.
    exit::report(command_line::CommandLine::parse().run())
}
