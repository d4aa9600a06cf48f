//! Private network namespaces.
//!
//! A [`Netns`] is a network namespace without a name, held open by a keeper
//! thread that lives in it. Programs are started from that thread under
//! `setpriv --pdeathsig KILL`: the kernel kills them when the thread ends, and
//! the thread ends with us, also after `kill -9`. Nothing is left behind.

use std::any::Any;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use lessee_linkctl::{LinkError, Links};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A failure to make or to use a network namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// The kernel refused a new network namespace.
    #[error(
        "cannot make a private network namespace, which needs CAP_SYS_ADMIN (run as root, or \
         call userns::enter() first thing in main)"
    )]
    Unshare {
        /// What the system said.
        source: io::Error,
    },
    /// A thread could not be started, or not moved into the namespace.
    #[error("cannot start a thread in the network namespace")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// The namespace could not be prepared.
    #[error("cannot prepare the network namespace ({what})")]
    Prepare {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A link operation inside the namespace failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A program could not be started inside the namespace.
    #[error("cannot start {program} in the network namespace")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program that ties children to our life is missing.
    #[error(
        "cannot start {program}: setpriv is not installed, so a child could outlive us; \
         install the Debian package util-linux"
    )]
    NoSetpriv {
        /// The program that was to be started.
        program: String,
    },
}

type Job = Box<dyn FnOnce() + Send>;

/// A private network namespace; clones are handles to the same one. It ends
/// with the last of them.
///
/// A new one has loopback up and IPv6 disabled.
#[derive(Clone, Debug)]
pub struct Netns {
    keeper: Arc<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: ThreadId,
    fd: OwnedFd,
}

impl Netns {
    /// Makes a new namespace.
    ///
    /// # Errors
    /// [`NetnsError::Unshare`] without the capability for it.
    pub fn new() -> Result<Self, NetnsError> {
        let (jobs, work) = mpsc::channel::<Job>();
        let (ready, outcome) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("netns-keeper".to_owned())
            .spawn(move || {
                let made = make();
                let failed = made.is_err();
                if ready.send(made).is_err() || failed {
                    return;
                }
                for job in work {
                    job();
                }
            })
            .map_err(|source| NetnsError::Thread { source })?;
        let fd = outcome.recv().map_err(|_| NetnsError::Thread {
            source: io::Error::other("the keeper thread ended early"),
        })??;
        let id = thread.thread().id();
        let keeper = Keeper { jobs: Some(jobs), thread: Some(thread), id, fd };
        Ok(Self { keeper: Arc::new(keeper) })
    }

    /// Runs `work` on the keeper thread, inside the namespace, and returns
    /// what it returns. Jobs run one after the other: for long work use
    /// [`Netns::spawn_thread`].
    ///
    /// # Panics
    /// When `work` panics: the panic goes on in the caller.
    pub fn run<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if thread::current().id() == self.keeper.id {
            return work();
        }
        let (give, take) = mpsc::channel::<Result<T, Box<dyn Any + Send>>>();
        let job: Job = Box::new(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            // The receiver waits below, for as long as it takes.
            let _ = give.send(result);
        });
        let lost = || -> Box<dyn Any + Send> { Box::new("the keeper thread of a netns is gone") };
        let sent = self.keeper.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        let result = if sent { take.recv().unwrap_or_else(|_| Err(lost())) } else { Err(lost()) };
        result.unwrap_or_else(|cause| panic::resume_unwind(cause))
    }

    /// The namespace as a file descriptor, for `setns` and for moving links.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.keeper.fd.as_fd()
    }

    /// The links of the namespace. The value may be used on any thread.
    ///
    /// # Errors
    /// When the rtnetlink socket cannot be opened.
    pub fn links(&self) -> Result<Links, LinkError> {
        self.run(Links::open)
    }

    /// Starts a thread that lives inside the namespace.
    ///
    /// # Errors
    /// [`NetnsError::Thread`] when it cannot be started or cannot get in.
    pub fn spawn_thread<T, F>(&self, name: &str, work: F) -> Result<JoinHandle<T>, NetnsError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let thread_error = |source| NetnsError::Thread { source };
        let fd = self.fd().try_clone_to_owned().map_err(thread_error)?;
        let (enter, entered) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let inside = setns(&fd, CloneFlags::CLONE_NEWNET);
                drop(fd);
                let outside = inside.is_err();
                let _ = enter.send(inside);
                if outside {
                    // The starter reports why, and nobody joins this thread.
                    panic::resume_unwind(Box::new("not inside the network namespace"));
                }
                work()
            })
            .map_err(thread_error)?;
        let inside = entered.recv().map_err(|lost| thread_error(io::Error::other(lost)))?;
        inside.map_err(|errno| thread_error(errno.into()))?;
        Ok(thread)
    }

    /// Starts a program inside the namespace. `configure` adds arguments,
    /// environment and standard streams.
    ///
    /// It runs in a process group of its own, so Ctrl-C reaches only us, and
    /// is killed by the kernel when we die in whatever way.
    ///
    /// # Errors
    /// [`NetnsError::Spawn`], [`NetnsError::NoSetpriv`]. That `program` itself
    /// does not exist shows as exit status 127.
    pub fn spawn<F>(&self, program: impl AsRef<OsStr>, configure: F) -> Result<Process, NetnsError>
    where
        F: FnOnce(&mut Command),
    {
        let name = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program).process_group(0);
        configure(&mut command);
        match self.run(move || command.spawn()) {
            Ok(child) => Ok(Process { child, name, netns: self.clone() }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(NetnsError::NoSetpriv { program: name })
            }
            Err(source) => Err(NetnsError::Spawn { program: name, source }),
        }
    }

    /// The text of a file below `/proc/thread-self/net`, for example `udp`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn proc_net(&self, file: &str) -> io::Result<String> {
        let path = format!("/proc/thread-self/net/{file}");
        self.run(move || fs::read_to_string(path))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread::current().id() != self.id
        {
            // A job's panic was caught and given to its caller: nothing to add.
            let _ = thread.join();
        }
    }
}

fn make() -> Result<OwnedFd, NetnsError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| NetnsError::Unshare { source: errno.into() })?;
    let prepare = |what| move |source| NetnsError::Prepare { what, source };
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
        match fs::write(path, "1") {
            // A kernel without IPv6 is as good.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(prepare("disable IPv6"))?,
        }
    }
    Links::open()?.set_up("lo")?;
    let file = File::open("/proc/thread-self/ns/net").map_err(prepare("open its descriptor"))?;
    Ok(file.into())
}

/// A program running inside a [`Netns`]; killed and reaped on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    netns: Netns,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace it runs in.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The child itself, for its standard streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends a signal, unless it has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the id is still this child's.
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Waits until it ends, for at most `timeout`; `None` when it runs on.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if began.elapsed() >= timeout {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end with SIGTERM, and kills it after `grace`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        // A stopped process takes its SIGTERM only once it is continued.
        self.signal(Signal::SIGCONT)?;
        match self.wait_timeout(grace)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Ends it at once, and reaps it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has been reaped already.
        let _ = self.kill();
    }
}
