//! Chance, drawn from the one random number that a step is given, so that the same number always leads to the same plan.

use time::Duration;

/// As many different draws as are needed from one random number.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(random: u64) -> Self {
        Self(random)
    }

    /// The next draw: splitmix64, whose every bit is as good as the others.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Anywhere from nothing to just under the whole span.
    pub(super) fn within(&mut self, span: Duration) -> Duration {
        part_of(span, (self.draw() >> 32) as u32)
    }

    /// The span, up to a tenth shorter or longer.
    pub(super) fn about(&mut self, span: Duration) -> Duration {
        span - span / 10 + self.within(span / 5)
    }
}

/// The part of a span that a number stands for, among all that have 32 bits.
pub(super) fn part_of(span: Duration, share: u32) -> Duration {
    span * (f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fill_the_span_evenly_and_never_leave_it() {
        let mut quarters = [0; 4];
        for random in 0..4_000 {
            let mut chance = Chance::new(random);
            let drawn = chance.within(Duration::HOUR);
            assert!(drawn >= Duration::ZERO && drawn <= Duration::HOUR);
            quarters[(drawn.whole_minutes() / 15).min(3) as usize] += 1;
            let about = chance.about(Duration::HOUR);
            assert!(about >= Duration::minutes(54) && about <= Duration::minutes(66));
        }
        assert!(
            quarters.iter().all(|count| (900..1_100).contains(count)),
            "{quarters:?}"
        );
    }
}
