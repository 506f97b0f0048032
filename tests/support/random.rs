//! Chance that repeats itself: the same choices at every run.

/// xorshift64*, good enough to choose inputs. Its seed is not 0.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// Another sequence for each number, those of neighbours unlike each other.
    pub fn of(number: u64) -> Self {
        Self(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from((self.next() >> 33) % bound).expect("below the bound")
    }

    /// At least 0, below 1.
    pub fn fraction(&mut self) -> f64 {
        const PARTS: usize = 1 << 31;
        self.below(PARTS) as f64 / PARTS as f64
    }

    /// So many bytes, which don't compress. Quick also without optimisation.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
        bytes
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
