//! How large a campaign is.
use std::time::Duration;

/// A share of what the figures are stated for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale(f64);

impl Scale {
    pub(crate) fn new(share: f64) -> Self {
        Self(share.clamp(0.0001, 100.0))
    }
    /// So many of `full`, and never fewer than `least`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts"
    )]
    pub(crate) fn of(self, full: usize, least: usize) -> usize {
        ((full as f64 * self.0).round() as usize).max(least)
    }
    /// So long of `full`, and never shorter than `least`.
    pub(crate) fn time(self, full: Duration, least: Duration) -> Duration {
        full.mul_f64(self.0).max(least)
    }
    /// Whether times may be judged: a small run shares its machine with whatever else is built and tested.
    pub(crate) fn judges_time(self) -> bool {
        self.0 >= 1.0
    }
}
