//! One lease: its states, its timing, its machine; and the table of all leases.
//!
//! The machine is sans-IO: `handle_*` take packets and time, `poll_*` give packets, a deadline
//! and events.

mod accept;
mod identity;
pub mod machine;
mod render;
pub mod state;
pub mod table;
pub mod terms;
pub mod timing;

pub use accept::{Ignored, Reply};
pub use machine::{Machine, Outcome};
pub use state::{Due, State};
pub use table::{LeaseId, Table};
pub use terms::{
    Acquire, BroadcastFlag, ClientIdentifier, Kinds, Lost, Notice, PortId, Profile, Terms,
};

#[cfg(test)]
pub(crate) mod tests;
