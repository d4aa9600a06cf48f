//! Live progress on standard error: a bar on a terminal, else a line a second.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{grouped, note};

const BAR: &str = "  {msg:<9} {wide_bar:.cyan/blue} {human_pos}/{human_len} {per_sec} {elapsed}";

/// How far a phase is.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    all: u32,
    bar: Option<ProgressBar>,
    began: Instant,
    /// When the last line was written, and how far it was then.
    last: Cell<(Instant, u32)>,
}

impl Progress {
    pub(super) fn new(what: &'static str, all: u32) -> Self {
        let now = Instant::now();
        let bar = io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(Some(u64::from(all)), target);
            bar.set_message(what);
            match ProgressStyle::with_template(BAR) {
                Ok(style) => bar.with_style(style),
                // The bar's own style will do.
                Err(_) => bar,
            }
        });
        Self { what, all, bar, began: now, last: Cell::new((now, 0)) }
    }

    pub(super) fn set(&self, done: u32) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(done));
            return;
        }
        let (at, before) = self.last.get();
        let passed = at.elapsed();
        if passed >= Duration::from_secs(1) {
            let rate = f64::from(done.saturating_sub(before)) / passed.as_secs_f64();
            note(&format!(
                "  {} {} of {} after {:.0} s ({}/s)",
                self.what,
                grouped(u64::from(done)),
                grouped(u64::from(self.all)),
                self.began.elapsed().as_secs_f64(),
                grouped(rate as u64)
            ));
            self.last.set((Instant::now(), done));
        }
    }

    /// Clears the bar away: the result says it all.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
