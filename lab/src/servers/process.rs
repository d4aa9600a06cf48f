//! A server's life: started, probed, asked, silenced, stopped, started again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use super::dir::PrivateDir;
use super::{Probe, Profile, Rendered, Server, ServerConfig, ServerError, ServerLease, TableError};
use crate::netns::{Netns, NetnsError, Process};

const READY_WAIT: Duration = Duration::from_secs(15);
const STOP_GRACE: Duration = Duration::from_secs(5);
const LOG: &str = "server.log";
const LOG_TAIL_LINES: usize = 25;

/// Starts `server` inside `netns` and waits until it answers clients.
///
/// A pool larger than the server's limit is cut, and a lease time below its
/// minimum is raised: see [`Running::config`] for what it came to.
///
/// # Errors
/// [`ServerError::NotInstalled`] with the package's name,
/// [`ServerError::Ended`] and [`ServerError::NotReady`] with the end of the
/// server's log.
pub fn start(
    server: &'static dyn Server,
    netns: &Netns,
    config: ServerConfig,
) -> Result<Running, ServerError> {
    let name = server.name();
    let config = fit(server, config);
    if let Some(why) = config.flaw() {
        return Err(ServerError::Config { server: name, why });
    }
    let dir = PrivateDir::new().map_err(|source| {
        let what = "make a private directory".to_owned();
        ServerError::Io { server: name, what, source }
    })?;
    Stopped { server, netns: netns.clone(), config, dir }.start()
}

/// A server that is not running, with its memory: configuration and leases.
#[derive(Debug)]
pub struct Stopped {
    server: &'static dyn Server,
    netns: Netns,
    config: ServerConfig,
    dir: PrivateDir,
}

/// A server that is running; killed on drop.
#[derive(Debug)]
pub struct Running {
    // Dropped first: the server ends before its directory goes.
    process: Process,
    base: Stopped,
}

impl Stopped {
    /// Starts the server again, with the leases that it had.
    ///
    /// # Errors
    /// As [`start`].
    pub fn start(self) -> Result<Running, ServerError> {
        let server = self.server;
        let program = find_program(server.program()).ok_or(ServerError::NotInstalled {
            server: server.name(),
            program: server.program(),
            package: server.package(),
        })?;
        let rendered = server.render(&self.config, self.dir.path());
        self.write_files(&rendered).map_err(|source| self.io("write its files", source))?;
        let ifindex = super::interface_index(&self.netns, &self.config.interface)
            .map_err(|source| self.netns_error(source))?;
        // A second life appends to the log of the first.
        let before = self.log().len();
        let process = self.spawn(&program, &rendered)?;
        let mut running = Running { process, base: self };
        running.wait_ready(ifindex, before)?;
        Ok(running)
    }

    /// The lease table that the server left.
    ///
    /// # Errors
    /// [`ServerError::Table`].
    pub fn leases(&self) -> Result<Vec<ServerLease>, ServerError> {
        let server = self.server;
        let table = match self.config.profile {
            Profile::Bench => Err(TableError::NotKept),
            Profile::Proof => server.read_leases(self.dir.path(), now()),
        };
        table.map_err(|source| ServerError::Table { server: server.name(), source })
    }

    /// What the server printed, over all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Changes what it will serve when it is started again.
    pub fn config_mut(&mut self) -> &mut ServerConfig {
        &mut self.config
    }

    fn write_files(&self, rendered: &Rendered) -> io::Result<()> {
        for (path, text) in &rendered.files {
            fs::write(path, text)?;
        }
        for path in &rendered.touch {
            OpenOptions::new().create(true).append(true).open(path)?;
        }
        Ok(())
    }

    fn spawn(&self, program: &Path, rendered: &Rendered) -> Result<Process, ServerError> {
        let log = self.open_log().map_err(|source| self.io("open its log", source))?;
        let dir = self.dir.path().to_owned();
        let spawned = self.netns.spawn(program, |command| {
            command.args(&rendered.args).current_dir(dir).stdin(Stdio::null());
            for (name, value) in &rendered.env {
                command.env(name, value);
            }
            let (out, err) = log;
            command.stdout(out).stderr(err);
        });
        spawned.map_err(|source| self.netns_error(source))
    }

    fn open_log(&self) -> io::Result<(File, File)> {
        let path = self.dir.path().join(LOG);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok((file.try_clone()?, file))
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        match (tail.is_empty(), self.config.profile) {
            (false, _) => tail,
            (true, Profile::Proof) => "(it printed nothing)".to_owned(),
            (true, Profile::Bench) => {
                "(it printed nothing; in the proof profile it prints more)".to_owned()
            }
        }
    }

    fn io(&self, what: &str, source: io::Error) -> ServerError {
        ServerError::Io { server: self.server.name(), what: what.to_owned(), source }
    }

    fn netns_error(&self, source: NetnsError) -> ServerError {
        ServerError::Netns { server: self.server.name(), source }
    }
}

impl Running {
    /// The server's own lease table, as it is now. A paused server cannot be
    /// asked where it has to write its table first (udhcpd).
    ///
    /// # Errors
    /// [`ServerError::Table`] or [`ServerError::Io`].
    pub fn leases(&mut self) -> Result<Vec<ServerLease>, ServerError> {
        let (server, dir) = (self.base.server, self.base.dir.path());
        server
            .flush(&mut self.process, dir)
            .map_err(|source| self.base.io("have it write its lease table", source))?;
        self.base.leases()
    }

    /// Stops it (SIGTERM, after 5 s SIGKILL) and keeps its memory.
    ///
    /// # Errors
    /// [`ServerError::Io`] when it cannot be stopped.
    pub fn stop(mut self) -> Result<Stopped, ServerError> {
        let ended = self.process.terminate(STOP_GRACE);
        ended.map_err(|source| self.base.io("stop it", source))?;
        Ok(self.base)
    }

    /// Kills it, as a crash would, and keeps what memory it wrote.
    ///
    /// # Errors
    /// [`ServerError::Io`] when it cannot be killed.
    pub fn kill(mut self) -> Result<Stopped, ServerError> {
        let ended = self.process.kill();
        ended.map_err(|source| self.base.io("kill it", source))?;
        Ok(self.base)
    }

    /// Makes it silent: it keeps its sockets and answers nothing. What comes
    /// in meanwhile waits in its sockets until [`Running::resume`].
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn pause(&mut self) -> Result<(), ServerError> {
        let sent = self.process.signal(Signal::SIGSTOP);
        sent.map_err(|source| self.base.io("pause it", source))
    }

    /// Lets it go on after [`Running::pause`].
    ///
    /// # Errors
    /// [`ServerError::Io`].
    pub fn resume(&mut self) -> Result<(), ServerError> {
        let sent = self.process.signal(Signal::SIGCONT);
        sent.map_err(|source| self.base.io("resume it", source))
    }

    /// Which server it is.
    #[must_use]
    pub fn server(&self) -> &'static dyn Server {
        self.base.server
    }

    /// Its configuration, after fitting to the server's limits.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.base.config
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.base.log()
    }

    /// The private directory with everything that it reads and writes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.base.dir.path()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn wait_ready(&mut self, ifindex: u32, before: usize) -> Result<(), ServerError> {
        let (server, began) = (self.base.server, Instant::now());
        loop {
            let ended = self.process.try_wait();
            if let Some(status) = ended.map_err(|source| self.base.io("watch it", source))? {
                let log = self.base.log_tail();
                return Err(ServerError::Ended {
                    server: server.name(),
                    status,
                    hint: hint(),
                    log,
                });
            }
            let probe = self.probe(ifindex, before);
            if server.ready(&probe.map_err(|source| self.base.io("look at its sockets", source))?) {
                return Ok(());
            }
            if began.elapsed() >= READY_WAIT {
                let (server, seconds) = (server.name(), READY_WAIT.as_secs());
                return Err(ServerError::NotReady { server, seconds, log: self.base.log_tail() });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn probe(&self, ifindex: u32, skip: usize) -> io::Result<Probe> {
        let netns = &self.base.netns;
        let log = self.base.log();
        Ok(Probe {
            log: log.get(skip..).unwrap_or(&log).to_owned(),
            udp: netns.proc_net("udp")?,
            packet: netns.proc_net("packet")?,
            ifindex,
        })
    }
}

/// Fits a configuration to what the server can do.
fn fit(server: &dyn Server, config: ServerConfig) -> ServerConfig {
    let limits = server.limits();
    let mut config = config;
    if config.pool_size() > limits.pool {
        config = config.pool_of(limits.pool);
    }
    config.lease_time = config.lease_time.max(limits.min_lease);
    config
}

/// Where a program is: in `PATH`, or where Debian keeps servers.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(system);
    folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()))
}

fn hint() -> &'static str {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.trim() == "Y") {
        "; AppArmor is active here, and the server's profile may forbid its files in a temporary \
         directory (see `dmesg`, `aa-complain`)"
    } else {
        ""
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
