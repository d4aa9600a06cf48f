//! Host links over rtnetlink, as blocking calls on plain values.
//!
//! [`Links`] speaks to the kernel of the network namespace in which the calling
//! thread was when it called [`Links::open`]; it goes on speaking to that
//! namespace wherever the thread goes later. No program is started and no file
//! is written.
//!
//! ```no_run
//! # fn main() -> Result<(), lessee_linkctl::LinkError> {
//! use lessee_linkctl::{Links, Veth};
//!
//! let links = Links::open()?;
//! links.add_veth(&Veth::new("c0", "s0"))?;
//! links.set_up("c0")?;
//! links.set_up("s0")?;
//! let link = links.wait_carrier("c0", std::time::Duration::from_secs(2))?;
//! assert!(link.up && link.carrier && link.is_ethernet);
//! # Ok(())
//! # }
//! ```
//!
//! The calls block on a tokio runtime of their own (one thread, the caller's),
//! so they must not be made from inside another tokio runtime: that is
//! [`LinkError::InsideRuntime`]; use `spawn_blocking` there.

#![forbid(unsafe_code)]

mod error;
mod link;
mod links;
mod spec;

pub use error::LinkError;
pub use link::{Address, Link, format_mac};
pub use links::Links;
pub use spec::{MacvlanMode, Route, Veth, check_name};
