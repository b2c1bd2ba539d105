//! The part of a run in which a network acts.

use latent_diffusion::NoisePath;

use crate::guiders::At;
use crate::profile::ControlSpan;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// Between two fractions of its calls: those that begin there, or also end there.
    Calls {
        /// From.
        start: f64,
        /// To.
        end: f64,
        /// Calls must end there too.
        whole: bool,
    },
    /// Between two levels of noise.
    Levels {
        /// The higher.
        from: f64,
        /// The lower.
        to: f64,
    },
}

impl Span {
    /// From one fraction of a run to another, as a profile counts.
    pub fn of(counted: ControlSpan, [start, end]: [f64; 2], path: &NoisePath) -> Self {
        let level = |done: f64| match done {
            ..=0.0 => f64::INFINITY,
            1.0.. => 0.0,
            done => {
                let last = path.levels().sigmas().len().saturating_sub(1);
                path.sigma((1.0 - done) * last as f64)
            }
        };
        match counted {
            ControlSpan::Begun | ControlSpan::Whole => Self::Calls {
                start,
                end,
                whole: counted == ControlSpan::Whole,
            },
            ControlSpan::Levels => Self::Levels {
                from: level(start),
                to: level(end),
            },
        }
    }

    /// Whether a call is in it.
    pub fn contains(&self, at: &At) -> bool {
        let fraction = |calls: usize| calls as f64 / at.calls.max(1) as f64;
        match *self {
            Self::Calls { start, end, whole } => {
                let last = fraction(at.call + usize::from(whole));
                !(fraction(at.call) < start || last > end)
            }
            Self::Levels { from, to } => (to..=from).contains(&at.sigma),
        }
    }
}

#[cfg(test)]
mod tests {
    use latent_diffusion::{BetaSchedule, NoiseSchedule};

    use super::*;

    #[test]
    fn programs_count_differently() {
        let beta = BetaSchedule::ScaledLinear;
        let schedule = NoiseSchedule::new(beta, 0.00085, 0.012, 1000, false).unwrap();
        let sigmas: Vec<f64> = (0..6)
            .map(|i| schedule.sigma(999.0 - 199.8 * f64::from(i)))
            .collect();
        let path = NoisePath::Discrete(schedule);
        let inside = |counted, part| -> Vec<usize> {
            let span = Span::of(counted, part, &path);
            let at = |call| At {
                call,
                calls: 6,
                sigma: sigmas[call],
                timestep: 0.0,
            };
            (0..6).filter(|call| span.contains(&at(*call))).collect()
        };
        let part = [0.25, 0.85];
        assert_eq!(inside(ControlSpan::Whole, part), [2, 3, 4]);
        assert_eq!(inside(ControlSpan::Begun, part), [2, 3, 4, 5]);
        assert_eq!(inside(ControlSpan::Levels, part), [2, 3, 4]);
        for counted in [ControlSpan::Whole, ControlSpan::Begun, ControlSpan::Levels] {
            assert_eq!(inside(counted, [0.0, 1.0]).len(), 6, "{counted:?}");
            assert_eq!(
                inside(counted, [0.0, 0.0]).len(),
                usize::from(counted == ControlSpan::Begun)
            );
        }
    }
}
