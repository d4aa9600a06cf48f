//! A user namespace of one's own, for those who are not root.

use std::env;
use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

/// What [`enter`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// Nothing: the capabilities were there already.
    AlreadyCapable,
    /// The process is now root of a new user namespace, in a new network
    /// namespace.
    UserNamespace,
}

/// Why no user namespace could be entered, and what to type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// Other threads exist already.
    #[error(
        "a user namespace can only be entered before any thread is started, and {threads} \
         threads exist: call userns::enter() first thing in main"
    )]
    Threads {
        /// How many there are.
        threads: usize,
    },
    /// The system refused.
    #[error(
        "this system refuses an unprivileged user namespace ({step}: {cause}).\n{}\n\
         Or run it as root: {as_root}",
        reasons.join("\n")
    )]
    Refused {
        /// The step that failed.
        step: &'static str,
        /// What the system said. Not the error's source: the text says it
        /// already, and ends with the command.
        cause: io::Error,
        /// Why, as far as the system tells, and what to type.
        reasons: Vec<String>,
        /// What to type instead, see [`as_root`].
        as_root: String,
    },
}

const NEEDED: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (21, "CAP_SYS_ADMIN")];

/// Whether this process may make network namespaces, links and packet sockets
/// as it is.
#[must_use]
pub fn capable() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| missing(&status).is_empty())
}

/// Makes sure that the process may make network namespaces, links and packet
/// sockets: does nothing when it may already, else enters a new user
/// namespace (and a new network namespace) as its root.
///
/// To be called first thing in `main`: the kernel refuses it to a process
/// that has threads.
///
/// # Errors
/// [`UsernsError`], which says why and what to type.
pub fn enter() -> Result<Entered, UsernsError> {
    if capable() {
        return Ok(Entered::AlreadyCapable);
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(UsernsError::Threads { threads });
    }
    // Afterwards both read as the overflow id until the maps are written.
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|errno| refused("unshare", errno.into()))?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    if !capable() {
        let cause = io::Error::from(io::ErrorKind::PermissionDenied);
        return Err(refused("use the new namespace's capabilities", cause));
    }
    Ok(Entered::UserNamespace)
}

fn write(path: &'static str, text: &str) -> Result<(), UsernsError> {
    match fs::write(path, text) {
        // Kernels before 3.19 have no such file and need none.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.ends_with("setgroups") => {
            Ok(())
        }
        other => other.map_err(|cause| refused(path, cause)),
    }
}

fn missing(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    NEEDED.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

fn refused(step: &'static str, cause: io::Error) -> UsernsError {
    let read = |path: &str| fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok());
    let knobs = Knobs {
        clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
        max: read("/proc/sys/user/max_user_namespaces"),
        apparmor: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    };
    UsernsError::Refused { step, cause, reasons: reasons(&knobs), as_root: as_root() }
}

/// This process's own command line as root types it: `sudo …`, quoted for a
/// shell.
#[must_use]
pub fn as_root() -> String {
    let mut words: Vec<String> =
        env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    // sudo looks for programs in places of its own.
    if let (Some(program), Ok(path)) = (words.first_mut(), env::current_exe())
        && !program.contains('/')
    {
        *program = path.to_string_lossy().into_owned();
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("sudo {}", words.join(" "))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The kernel's settings that decide; `None` where it has no such setting.
#[derive(Clone, Copy, Debug, Default)]
struct Knobs {
    clone: Option<u64>,
    max: Option<u64>,
    apparmor: Option<u64>,
}

fn reasons(knobs: &Knobs) -> Vec<String> {
    let mut reasons = Vec::new();
    if knobs.clone == Some(0) {
        reasons.push(
            "kernel.unprivileged_userns_clone is 0. To allow it: \
             sudo sysctl kernel.unprivileged_userns_clone=1"
                .to_owned(),
        );
    }
    if knobs.max == Some(0) {
        reasons.push(
            "user.max_user_namespaces is 0. To allow some: \
             sudo sysctl user.max_user_namespaces=1024"
                .to_owned(),
        );
    }
    if knobs.apparmor == Some(1) {
        reasons.push(
            "kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 23.10 and later). To \
             allow it: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
                .to_owned(),
        );
    }
    if reasons.is_empty() {
        reasons.push(
            "No kernel setting forbids it, so it may be a container's seccomp profile or a \
             security module. In Docker: docker run --privileged …, or \
             --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW \
             --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
                .to_owned(),
        );
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_capabilities_are_named() {
        let all = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        assert!(missing(all).is_empty());
        let none = "CapEff:\t0000000000000000\n";
        assert_eq!(missing(none), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"]);
        // Docker's default set.
        assert_eq!(missing("CapEff:\t00000000a80425fb\n"), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert_eq!(missing("").len(), 3);
    }

    #[test]
    fn every_closed_knob_is_explained_with_a_command() {
        let closed = Knobs { clone: Some(0), max: Some(0), apparmor: Some(1) };
        let text = reasons(&closed).join("\n");
        for command in [
            "sudo sysctl kernel.unprivileged_userns_clone=1",
            "sudo sysctl user.max_user_namespaces=",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ] {
            assert!(text.contains(command), "{text}");
        }
        let open = Knobs { clone: Some(1), max: Some(1000), apparmor: None };
        assert!(reasons(&open)[0].contains("seccomp"));
    }

    #[test]
    fn the_command_can_be_typed() {
        for (word, expected) in [
            ("--leases", "--leases"),
            ("", "''"),
            ("host-{i}", "'host-{i}'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
        assert!(as_root().starts_with("sudo /"), "{}", as_root());
    }

    #[test]
    fn a_refusal_names_its_cause_once_and_ends_with_the_command() {
        use std::error::Error;
        let error = refused("unshare", io::Error::other("the cause"));
        let text = error.to_string();
        assert_eq!(text.matches("the cause").count(), 1, "{text}");
        assert!(text.ends_with(&as_root()) && error.source().is_none(), "{text}");
    }

    #[test]
    fn a_process_with_threads_is_told_so() {
        // The test harness has threads; as root nothing is to be entered.
        match enter() {
            Ok(entered) => assert_eq!(entered, Entered::AlreadyCapable),
            Err(error) => assert!(error.to_string().contains("first thing in main"), "{error}"),
        }
    }
}
