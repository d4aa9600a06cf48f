//! The command as people run it: the real program, in private networks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bad_input;
mod dissect;
mod leases;
mod load;
mod support;
