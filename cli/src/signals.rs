//! Ctrl-C: the first one asks for an orderly end, the second one forces it.

use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::output::note;

/// Receives once when the program is asked to end.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Receiver<()>,
}

impl Stop {
    /// Starts to listen for SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).context("cannot listen for signals")?;
        let (ask, asked) = bounded(1);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in &mut signals {
                    if ask.try_send(()).is_err() {
                        note("lessee: ended at once; leases that are not released yet stay with their server");
                        // By the convention of shells.
                        std::process::exit(128 + signal);
                    }
                }
            })
            .context("cannot start a thread for signals")?;
        Ok(Self { asked })
    }

    /// True once the program was asked to end. The request stays, so that the next one is the
    /// second.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }
}

/// True if the program was started with this signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
