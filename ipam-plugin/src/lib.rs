//! Docker's libnetwork IPAM plugin on top of lessee: a shell until its own issue.
//!
//! `docker network create --ipam-driver=dhcp …` will ask it for addresses, and it will lease them
//! from the site's own DHCP server. Today it can only say that it cannot.

/// What the program answers to whoever starts it, and the status that it ends with.
pub const NOT_AVAILABLE: (&str, u8) =
    ("lessee-ipam: the Docker plugin is not available yet: see docs/status.md, P1 to P10", 2);
