//! What the stories share: an engine on a lab's interface, a witness on the wire, and how a story
//! that cannot run here says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a story's helpers fail like the story"
)]

mod engine;
mod skip;
mod witness;

pub use engine::{Held, LabEngine, mac, plain};
pub use skip::{can_run, skipped};
pub use witness::{Seen, Witness};
