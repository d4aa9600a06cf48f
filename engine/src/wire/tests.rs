//! What the wire formats promise: every refusal by name, round trips, and agreement with two
//! decoders that we did not write.

mod discards;
mod fixtures;
mod names;
mod options;
mod oracles;
mod packets;
mod roundtrip;
mod support;
