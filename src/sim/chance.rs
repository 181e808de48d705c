//! Owns every choice of a simulated world. Never asks anything but its seed.
//! Invariant: the same seed gives the same choices, whatever versions of other crates are in the build.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// The choices of one world.
#[derive(Debug, Clone)]
pub struct Chance(Pcg64);

impl Chance {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    /// One of `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        // The remainder's bias is far below anything a world could notice.
        from + self.0.next_u64() % (to - from + 1)
    }

    /// Likewise, signed, around 0.
    pub fn around(&mut self, most: i64) -> i64 {
        let range = u64::try_from(most).unwrap_or(0) * 2;
        i64::try_from(self.between(0, range)).unwrap_or(0) - most
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, share: u64) -> bool {
        share > 0 && self.between(0, 999) < share
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// An index below `count`, which is above 0.
    pub fn index(&mut self, count: usize) -> usize {
        self.between(0, count as u64 - 1) as usize
    }

    /// −1..=1.
    pub fn jitter(&mut self) -> f64 {
        self.around(1_000) as f64 / 1_000.0
    }
}
