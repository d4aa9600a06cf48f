//! The client over devices in memory.
