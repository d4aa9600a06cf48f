//! What the benches share: a server without any lease logic, and a link that lives in memory.

pub mod loopback;
pub mod reflector;

use criterion::Criterion;
use lessee_engine::wire::ethernet::Mac;
use std::time::Duration;

/// Criterion set for short runs, a second a bench: what is wanted are ratios within a run. Its
/// command line asks for longer ones (`-- --measurement-time 5`).
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .without_plots()
        .configure_from_args()
}

/// The MAC of the client with this number: locally administered, below 2^24 of them.
#[must_use]
pub fn mac(number: u32) -> Mac {
    Mac::from_u64(0x0200_0000_0000 | u64::from(number & 0x00ff_ffff))
}
