//! The one place that writes: results to standard output, everything else to standard error.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

/// Standard output, in text or JSON.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    closed: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, closed: false }
    }

    /// Whether JSON is wanted.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// True once the reader has gone away (`lessee lease … | head`): there is nobody left to work
    /// for, and nothing to complain about.
    pub(crate) fn is_closed(&mut self) -> bool {
        let out = io::stdout();
        // A pipe without a reader shows an error, also while there is nothing to write.
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let [fd] = fds;
        let gone = fd.revents().is_some_and(|found| found.contains(PollFlags::POLLERR));
        self.closed |= polled.is_ok() && gone;
        self.closed
    }

    /// Writes text for people; nothing where JSON is wanted.
    pub(crate) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { self.write(text) }
    }

    /// Writes a JSON document on one line; nothing where text is wanted.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(value).context("cannot write JSON")?;
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        if self.closed {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.context("cannot write to standard output"),
        }
    }
}

/// Tells the person at the terminal something that is no result.
pub(crate) fn note(text: &str) {
    // There is no better place to complain about a closed standard error.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 lease`, `2 leases`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A time of the size that people wait for: `3 s`, `1.5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let text = format!("{:.2}", time.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A latency, in a unit that leaves three digits.
pub(crate) fn latency(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", three_digits(micros as f64 / 1e3)),
        _ => format!("{} s", three_digits(micros as f64 / 1e6)),
    }
}

fn three_digits(value: f64) -> String {
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(count(1, "lease"), "1 lease");
        assert_eq!(count(2_000, "lease"), "2,000 leases");
        assert_eq!(seconds(Duration::from_millis(3_000)), "3 s");
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.25 s");
        assert_eq!(latency(17), "17 µs");
        assert_eq!(latency(1_234), "1.23 ms");
        assert_eq!(latency(45_678), "45.7 ms");
        assert_eq!(latency(4_012_345), "4.01 s");
    }
}
