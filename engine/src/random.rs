//! A small deterministic generator for jitter. Seeds are inputs; nothing here is secret.

/// PCG-RXS-M-XS 32: 32 bits of state, so that every lease can afford its own.
#[derive(Clone, Copy, Debug)]
pub struct Random(u32);

impl Random {
    /// A generator that always yields the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// The next number, uniform over 32 bits.
    pub const fn next(&mut self) -> u32 {
        let state = self.0;
        self.0 = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        (word >> 22) ^ word
    }

    /// A number from 0 to `bound` inclusive, uniform up to a bias below 2⁻³² × `bound`.
    pub const fn up_to(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * (bound as u128 + 1)) >> 32) as u64
    }
}
