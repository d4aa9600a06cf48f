//! What the benches share: their tables and the machine that they name.
