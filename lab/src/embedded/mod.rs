//! A DHCP server of our own: fast, correct, and wrong on request.
//!
//! The tests and `lessee load --lab` need a server that costs less than what they measure, that
//! runs without root (in a user namespace), on a virtual clock as well as on a real wire, and that
//! can be told to misbehave in ways that real servers do by accident.
//!
//! - [`core`]: the server itself, without sockets and clocks: frames and times in, frames and
//!   deadlines out.
//! - [`misbehave`]: rules that make its answers go wrong.
//! - [`run`]: the server on a thread, on an interface of a [`Netns`](crate::netns::Netns).

pub mod core;
pub mod misbehave;
pub mod run;

mod answer;
mod counters;
mod neighbours;
mod pool;
mod queue;
mod request;
mod spec;

#[cfg(test)]
mod tests;

pub use self::core::{Server, ServerLease};
pub use self::counters::{Counter, Counters};
pub use self::misbehave::{Kinds, Malformation, Misbehaviour, Rule};
pub use self::run::{RunError, Running};
pub use self::spec::{Identity, ServerSpec, SpecError, Unknown};
