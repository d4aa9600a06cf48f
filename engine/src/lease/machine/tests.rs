//! The machine, state by state.
