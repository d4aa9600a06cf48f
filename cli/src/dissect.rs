//! `lessee dissect`: what the engine's own parser makes of captures.
//!
//! - `capture`, `time`: the files' formats.
//! - `frames`: a frame's judgement, by link type.
//! - `report`, `tally`: how it is told, one by one and in sum.

mod capture;
mod frames;
mod report;
mod tally;
#[cfg(test)]
mod tests;
mod time;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use capture::{Capture, Flaw};
use frames::{Medium, Reader, Verdict};
use report::{FrameView, Place};
use serde::Serialize;
use tally::Tally;

use crate::Outcome;
use crate::args::Dissect;
use crate::output::{Output, note};

/// What a folder's captures are called.
const EXTENSIONS: [&str; 3] = ["pcap", "pcapng", "cap"];

/// The last JSON line.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    record: &'static str,
    #[serde(flatten)]
    tally: &'a Tally,
}

/// Whether the next file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Wanted,
    /// Nobody reads on.
    Closed,
}

pub(crate) fn run(args: &Dissect, out: &mut Output) -> anyhow::Result<Outcome> {
    let mut dissector = Dissector {
        all: args.all,
        reader: Reader::new(args.ignore_checksums),
        tally: Tally::default(),
    };
    for path in &args.files {
        if dissector.path(path, out)? == Next::Closed {
            break;
        }
    }
    let tally = &dissector.tally;
    out.text(&tally.text())?;
    out.json(&Summary { record: "summary", tally })?;
    Ok(if tally.files_failed == 0 { Outcome::Met } else { Outcome::Unmet })
}

struct Dissector {
    all: bool,
    reader: Reader,
    tally: Tally,
}

impl Dissector {
    /// A file, or all captures in a folder.
    fn path(&mut self, path: &Path, out: &mut Output) -> anyhow::Result<Next> {
        if is_stdin(path) || !path.is_dir() {
            return self.file(path, out);
        }
        match captures(path) {
            Ok(files) if files.is_empty() => {
                self.fail(&name_of(path), &"no *.pcap, *.pcapng or *.cap in this folder");
            }
            Ok(files) => {
                for file in files {
                    if self.file(&file, out)? == Next::Closed {
                        return Ok(Next::Closed);
                    }
                }
            }
            Err(error) => self.fail(&name_of(path), &error),
        }
        Ok(Next::Wanted)
    }

    fn file(&mut self, path: &Path, out: &mut Output) -> anyhow::Result<Next> {
        self.tally.files += 1;
        let name = name_of(path);
        let opened = capture::source(path).map_err(|error| error.to_string());
        let opened =
            opened.and_then(|source| Capture::open(source).map_err(|flaw: Flaw| flaw.to_string()));
        match opened {
            Ok(capture) => self.frames(&name, capture, out),
            Err(error) => {
                self.fail(&name, &error);
                Ok(Next::Wanted)
            }
        }
    }

    fn frames(
        &mut self,
        file: &str,
        mut capture: Capture,
        out: &mut Output,
    ) -> anyhow::Result<Next> {
        out.text(&format!("{file}:"))?;
        let mut number = 0;
        loop {
            let record = match capture.next() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(Next::Wanted),
                Err(flaw) => {
                    self.fail(file, &flaw);
                    return Ok(Next::Wanted);
                }
            };
            number += 1;
            let Some(medium) = Medium::of(record.link_type) else {
                self.tally.unsupported(record.link_type);
                continue;
            };
            let verdict = self.reader.read(medium, record.bytes, record.wire_len);
            self.tally.verdict(medium, &verdict);
            if !self.all && matches!(verdict, Verdict::Arp(..) | Verdict::Other(..)) {
                continue;
            }
            let place = Place::new(file, number, medium, &record);
            if out.is_json() {
                out.json(&FrameView::new(&place, &verdict))?;
            } else {
                out.text(&report::text(&place, &verdict))?;
            }
            if out.is_closed() {
                return Ok(Next::Closed);
            }
        }
    }

    fn fail(&mut self, file: &str, why: &dyn std::fmt::Display) {
        self.tally.files_failed += 1;
        note(&format!("lessee: {file}: {why}"));
    }
}

/// The captures in a folder, by name; folders in it are not looked into.
fn captures(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let named = extension
            .is_some_and(|name| EXTENSIONS.iter().any(|known| name.eq_ignore_ascii_case(known)));
        // What cannot be looked at is an error when it is read.
        if named && fs::metadata(&path).map_or(true, |found| found.is_file()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name_of(path: &Path) -> String {
    if is_stdin(path) {
        return "standard input".to_owned();
    }
    printable(&path.to_string_lossy())
}

/// Text of others without what a terminal would act on: control characters, and those that turn
/// the direction of writing.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}
