//! What a person types: `lessee probe`, `lessee lease`, `lessee load`, `lessee dissect`.
//!
//! One invocation is one command: [`main`] parses it, enters a user namespace if a lab is asked
//! for (first thing, because the kernel refuses that to a process with threads), runs it and turns
//! its outcome into an exit status: 0 all goals met, 1 not all, 2 usage or environment.
//!
//! - `args`, `values`: the command line; what a single argument may be.
//! - `macs`: ranges of MAC addresses, and those derived from an interface's own.
//! - `lock`: no two runs under the same MAC addresses on one interface.
//! - `port`: an interface with rings and a running engine.
//! - `fleet`: many leases acquired, followed and given back.
//! - `probe`, `lease`, `load`: the commands; `lab_mode`: the private network of `load --lab`.
//! - `dissect`: captures, seen through the engine's parser.
//! - `describe`, `output`, `why`, `usage`, `signals`: how it is told, and what else is needed.

#![forbid(unsafe_code)]

mod args;
mod describe;
mod dissect;
mod fleet;
mod lab_mode;
mod lease;
mod load;
mod lock;
mod macs;
mod output;
mod port;
mod probe;
mod signals;
mod usage;
mod values;
mod why;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use lessee_lab::userns;
use output::{Output, note};

/// Whether a command reached what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All of it.
    Met,
    /// Not all: no answer, leases not bound. What is missing has been said.
    Unmet,
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    // Usage errors end here, with status 2; --help and --version with 0.
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(Outcome::Met) => ExitCode::SUCCESS,
        Ok(Outcome::Unmet) => ExitCode::from(1),
        Err(error) => {
            note(&format!("lessee: {}", explained(&error)));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes, each said once: some errors name their cause themselves.
fn explained(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn run(command: &Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Probe(args) => probe::run(args, &mut Output::new(args.json)),
        Command::Lease(args) => lease::run(args, &mut Output::new(args.json)),
        Command::Dissect(args) => dissect::run(args, &mut Output::new(args.json)),
        Command::Load(args) => {
            if args.lab {
                // Before any thread exists.
                userns::enter()?;
            }
            load::run(args, &mut Output::new(args.json))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("refused").context("c0: refused; try this").context("no lab");
        assert_eq!(explained(&error), "no lab: c0: refused; try this");
        let error = anyhow::anyhow!("refused").context("cannot open c0");
        assert_eq!(explained(&error), "cannot open c0: refused");
    }
}
