//! Running the program in a private network, and the networks.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lessee_lab::embedded::{Running, ServerSpec};
use lessee_lab::netns::{Netns, Process};
use lessee_lab::servers::{self, Server};
use lessee_lab::topology::{Port, Wire, WireSpec};
use lessee_lab::userns;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const LESSEE: &str = env!("CARGO_BIN_EXE_lessee");

/// True if private networks can be made; says loudly if not, and fails where that must not happen.
pub(crate) fn can_run(story: &str) -> bool {
    let capable = userns::capable();
    if !capable {
        skipped(story, "needs root, or `unshare -Ur` in front of the command");
    }
    capable
}

/// Says loudly that a story did not run, and fails where that must not happen.
pub(crate) fn skipped(story: &str, why: &str) {
    // Not eprintln!: what that prints is not shown of a test that passes.
    std::io::stderr().write_all(format!("skipped: {story}: {why}\n").as_bytes()).unwrap();
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {story}: {why}");
}

/// True if this server is installed; says loudly if not.
pub(crate) fn has(story: &str, server: &dyn Server) -> bool {
    let found = servers::find(server).is_some();
    if !found {
        skipped(story, &format!("install the Debian package {}", server.package()));
    }
    found
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: i32, in_stderr: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        for text in in_stderr {
            assert!(self.stderr.contains(text), "no {text:?} in {self:?}");
        }
    }
}

/// A run that goes on.
pub(crate) struct Run {
    process: Process,
    dir: TempDir,
}

/// Starts `program` inside a namespace.
pub(crate) fn start_program(
    ns: &Netns,
    program: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Run {
    let dir = TempDir::new().unwrap();
    let out = File::create(dir.path().join("out")).unwrap();
    let err = File::create(dir.path().join("err")).unwrap();
    let process = ns.spawn(program, |command| {
        command.args(args).stdout(out).stderr(err);
    });
    Run { process: process.unwrap(), dir }
}

/// Starts `lessee` inside a namespace; `line` is split at spaces.
pub(crate) fn start(ns: &Netns, line: &str) -> Run {
    start_program(ns, LESSEE, line.split(' '))
}

/// Runs `lessee` inside a namespace to its end.
pub(crate) fn run(ns: &Netns, line: &str) -> Ran {
    start(ns, line).wait()
}

impl Run {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// Waits until standard output or error holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let began = Instant::now();
        while !self.read("out").contains(text) && !self.read("err").contains(text) {
            let ended = self.process.try_wait().unwrap();
            let (out, err) = (self.read("out"), self.read("err"));
            assert!(ended.is_none(), "ended before {text:?}: {ended:?}\n{out}\n{err}");
            assert!(began.elapsed() < Duration::from_secs(30), "no {text:?}\n{out}\n{err}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> Ran {
        let status = self.process.wait_timeout(Duration::from_secs(60)).unwrap();
        let (stdout, stderr) = (self.read("out"), self.read("err"));
        let status = status.unwrap_or_else(|| panic!("does not end\n{stdout}\n{stderr}"));
        Ran { status: status.code(), stdout, stderr }
    }
}

/// A wire whose server end has no address of its own.
pub(crate) fn wire() -> Wire {
    Wire::with(WireSpec { server: Port::new("s0"), ..WireSpec::default() }).unwrap()
}

/// A wire with an embedded server that has a pool of this many addresses.
pub(crate) fn served(pool: u32) -> (Wire, Running) {
    let wire = wire();
    let first = Ipv4Addr::new(10, 77, 1, 0);
    let last = Ipv4Addr::from(u32::from(first) + pool - 1);
    let mut spec = ServerSpec::new(Ipv4Addr::new(10, 77, 0, 1), 16, first, last);
    spec.router = Some(Ipv4Addr::new(10, 77, 0, 1));
    spec.dns = vec![Ipv4Addr::new(10, 77, 0, 53)];
    let server = Running::start(&wire.server, "s0", spec, Vec::new()).unwrap();
    (wire, server)
}

/// Waits until the server has taken in what was sent last, and counts `leases` leases.
#[track_caller]
pub(crate) fn server_holds(server: &Running, leases: usize) {
    let began = Instant::now();
    while server.leases().len() != leases && began.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.leases().len(), leases, "leases in the server's own table");
}
