//! Random numbers of a seed.

use core::f64::consts::TAU;

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014). Small, and the same numbers on every machine and in every version.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Streams of the same seed are independent of each other.
    pub(crate) const fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        // Seeds are small numbers: the first words still show it.
        random.word();
        random.word();
        random
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// 0.0 to below 1.0.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Between two positive numbers, evenly by ratio.
    pub(crate) fn between_ratios(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Below `n`, which is at least 1.
    pub(crate) const fn below(&mut self, n: usize) -> usize {
        ((self.word() as u128 * n as u128) >> 64) as usize
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Mean 0, variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// How many of a Poisson process happen where `mean` are expected: gaps are added up until they exceed it.
    pub(crate) fn poisson(&mut self, mean: f64) -> u32 {
        let mut n = 0;
        let mut at = self.exponential(1.0);
        while at < mean {
            n += 1;
            at += self.exponential(1.0);
        }
        n
    }

    /// An index, in proportion to its weight; any index when all weights are zero.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.uniform() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        self.below(weights.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u32 = 200_000;

    fn mean(mut draw: impl FnMut(&mut Random) -> f64) -> f64 {
        let mut random = Random::new(1, 0);
        (0..N).map(|_| draw(&mut random)).sum::<f64>() / f64::from(N)
    }

    #[test]
    fn distributions_have_their_means() {
        for (name, found, wanted) in [
            ("uniform", mean(Random::uniform), 0.5),
            ("exponential", mean(|r| r.exponential(3.0)), 3.0),
            ("normal", mean(Random::normal), 0.0),
            ("square of normal", mean(|r| r.normal().powi(2)), 1.0),
            ("poisson", mean(|r| f64::from(r.poisson(4.0))), 4.0),
            ("below", mean(|r| r.below(5) as f64), 2.0),
            ("weighted", mean(|r| r.weighted(&[1.0, 0.0, 3.0]) as f64), 1.5),
        ] {
            // Five standard deviations of the widest of them.
            assert!(
                (found - wanted).abs() < 5.0 * 3.0 / f64::from(N).sqrt(),
                "{name}: {found}, not {wanted}"
            );
        }
    }

    #[test]
    fn seeds_and_streams_differ_and_repeat() {
        let first = |seed, stream| Random::new(seed, stream).word();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(2, 1));
        assert_ne!(first(1, 1), first(1, 2));
    }
}
