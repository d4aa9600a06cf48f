//! What can go wrong with a link, said so that a person knows what to do next.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// A failure of an operation on a link.
///
/// Every variant names the link, what was being done, and the way out where
/// one is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The rtnetlink socket could not be opened.
    #[error("cannot open an rtnetlink socket: {source}")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// A blocking call was made from inside a tokio runtime.
    #[error(
        "link operations block and were called from inside a tokio runtime: \
         move the call to spawn_blocking or to a thread of its own"
    )]
    InsideRuntime,
    /// The name cannot be an interface name.
    #[error("{name:?} cannot be an interface name: {why}")]
    BadName {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// No interface has this name (or index) in this network namespace.
    #[error(
        "cannot {action}: no interface {link} in this network namespace; {}",
        present(existing)
    )]
    NoSuchLink {
        /// The name that was asked for.
        link: String,
        /// What was being done.
        action: String,
        /// The interfaces that do exist.
        existing: Vec<String>,
    },
    /// The caller may not do this.
    #[error(
        "{link}: cannot {action}: not permitted; this needs CAP_NET_ADMIN in the network \
         namespace: run as root, or inside `unshare --user --map-root-user --net`"
    )]
    NotPermitted {
        /// The link.
        link: String,
        /// What was being done.
        action: String,
    },
    /// Something of this name (or this address, or route) is already there.
    #[error("{link}: cannot {action}: it already exists; delete it first or choose another")]
    Exists {
        /// The link.
        link: String,
        /// What was being done.
        action: String,
    },
    /// The link is in use in a way that excludes this.
    #[error(
        "{link}: cannot {action}: busy; an interface that is already in use this way (enslaved, \
         parent of another kind of child, or up where it must be down) has to be freed first"
    )]
    Busy {
        /// The link.
        link: String,
        /// What was being done.
        action: String,
    },
    /// The link did not get a carrier in time.
    #[error(
        "{link}: no carrier after {waited:?}; is the other end up (veth: the peer, \
         a real port: the cable)?"
    )]
    NoCarrier {
        /// The link.
        link: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The kernel refused for another reason.
    #[error("{link}: cannot {action}: {source}{hint}")]
    Refused {
        /// The link.
        link: String,
        /// What was being done.
        action: String,
        /// What may be behind it; empty, or text that begins with `"; "`.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel's answer could not be understood, or none came.
    #[error("{link}: cannot {action}: {detail}")]
    Protocol {
        /// The link.
        link: String,
        /// What was being done.
        action: String,
        /// What was unexpected.
        detail: String,
    },
}

impl LinkError {
    /// Whether the error says that the interface does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchLink { .. })
    }

    /// The error for an errno that the kernel returned for `action` on `link`.
    pub(crate) fn from_errno(errno: i32, link: &str, action: &str) -> Self {
        let (link, action) = (link.to_owned(), action.to_owned());
        match Errno::from_raw(errno) {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted { link, action },
            Errno::ENODEV => Self::NoSuchLink { link, action, existing: Vec::new() },
            Errno::EEXIST => Self::Exists { link, action },
            Errno::EBUSY => Self::Busy { link, action },
            other => Self::Refused {
                link,
                action,
                hint: hint(other),
                source: io::Error::from_raw_os_error(errno),
            },
        }
    }

    /// The error for what rtnetlink returned for `action` on `link`.
    pub(crate) fn from_netlink(error: &rtnetlink::Error, link: &str, action: &str) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => {
                Self::from_errno(message.raw_code().abs(), link, action)
            }
            other => Self::Protocol {
                link: link.to_owned(),
                action: action.to_owned(),
                detail: other.to_string(),
            },
        }
    }
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EOPNOTSUPP => {
            "; this kernel does not have that kind of link, or its module is not loaded"
        }
        Errno::EINVAL | Errno::ERANGE => {
            "; a value is out of this link's range (MTU, MAC address, mode or number of queues)"
        }
        Errno::EADDRNOTAVAIL => {
            "; a unicast MAC address is needed (lowest bit of the first octet 0)"
        }
        Errno::ENETUNREACH => "; the gateway is not on a network of this namespace's interfaces",
        Errno::ENETDOWN => "; the link is down: set it up first",
        Errno::ENOBUFS | Errno::ENOMEM => "; the kernel is out of memory for this",
        Errno::EBADF => "; the namespace's file descriptor is not open",
        _ => "",
    }
}

fn present(existing: &[String]) -> String {
    if existing.is_empty() {
        return "list what there is with `ip link`".to_owned();
    }
    const SHOWN: usize = 20;
    let mut text = format!("there are: {}", existing[..existing.len().min(SHOWN)].join(", "));
    if existing.len() > SHOWN {
        text.push_str(&format!(" and {} more", existing.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errno: Errno) -> String {
        LinkError::from_errno(errno as i32, "eth7", "set it up").to_string()
    }

    #[test]
    fn every_error_names_the_link_the_action_and_the_way_out() {
        for (errno, way_out) in [
            (Errno::EPERM, "CAP_NET_ADMIN"),
            (Errno::EEXIST, "choose another"),
            (Errno::EBUSY, "freed first"),
            (Errno::EOPNOTSUPP, "module"),
            (Errno::EINVAL, "range"),
            (Errno::ENODEV, "ip link"),
        ] {
            let text = text(errno);
            assert!(text.contains("eth7"), "{text}");
            assert!(text.contains("set it up"), "{text}");
            assert!(text.contains(way_out), "{text}");
        }
    }

    #[test]
    fn a_missing_link_lists_those_that_exist() {
        let some = |n: usize| (0..n).map(|i| format!("if{i}")).collect::<Vec<_>>();
        let error = |existing| LinkError::NoSuchLink {
            link: "eth9".into(),
            action: "look it up".into(),
            existing,
        };
        assert!(error(some(2)).to_string().ends_with("there are: if0, if1"));
        assert!(error(some(25)).to_string().ends_with("if19 and 5 more"));
        assert!(error(some(2)).is_not_found());
    }

    #[test]
    fn an_unknown_errno_keeps_the_systems_words() {
        let text = text(Errno::EXDEV);
        assert!(text.contains("cross-device"), "{text}");
    }
}
