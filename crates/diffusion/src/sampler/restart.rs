//! Restart sampling (Xu et al. 2023): Heun, with jumps back to a higher noise level.

use burn::tensor::Tensor;

use super::RestartSegment;
use super::two_stage::heun_from;
use super::walk::{Walk, Walked};

/// Heun over the plan of [`plan`]; where a step starts above the σ the last one ended at, noise fills the gap.
pub(super) fn restart<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let steps = plan(walk.ladder.values(), walk.options.restart.as_deref());
    let mut at = steps[0].0;
    for (i, &(sigma, next)) in steps.iter().enumerate() {
        if sigma > at {
            x = walk.add_noise(x, at, sigma, (sigma * sigma - at * at).sqrt());
        }
        let denoised = walk.denoise(&x, sigma)?;
        x = heun_from(walk, x, &denoised, sigma, next)?;
        walk.show_as(i, steps.len(), sigma, next, &x, &denoised)?;
        at = next;
    }
    Ok(x)
}

/// The steps (σ, σ') with every jump unrolled.
///
/// Without segments A1111's rule holds: below 20 steps no jump, from 20 one of 9 steps and from 36 two of a quarter of
/// the steps, from σ ≈ 0.1 to σ ≈ 2; the main ladder becomes a Karras ladder of what is left, so the number of steps
/// stays what was asked for.
fn plan(ladder: &[f64], segments: Option<&[RestartSegment]>) -> Vec<(f64, f64)> {
    let n = ladder.len() - 1;
    let (sigmas, segments) = match segments {
        Some(segments) => (ladder.to_vec(), segments.to_vec()),
        None if n < 20 => (ladder.to_vec(), Vec::new()),
        None => {
            let (steps, times) = if n >= 36 { (n / 4, 2) } else { (9, 1) };
            let mut main = karras(n - steps * times, ladder[n - 1], ladder[0]);
            main.push(ladder[n]);
            let jump = RestartSegment {
                sigma_min: 0.1,
                sigma_max: 2.0,
                values: steps + 1,
                times,
            };
            (main, vec![jump])
        }
    };
    let nearest = |to: f64| {
        let distance = |i: &usize| (sigmas[*i] - to).abs();
        (0..sigmas.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0)
    };
    let mut steps = Vec::new();
    for (i, pair) in sigmas.windows(2).enumerate() {
        steps.push((pair[0], pair[1]));
        for jump in segments.iter().filter(|s| nearest(s.sigma_min) == i + 1) {
            let top = nearest(jump.sigma_max);
            if top > i || pair[1] == 0.0 {
                continue; // it would not lead up, or there is no way back to exactly 0
            }
            let down = karras(jump.values, pair[1], sigmas[top]);
            for _ in 0..jump.times {
                steps.extend(down.windows(2).map(|pair| (pair[0], pair[1])));
            }
        }
    }
    steps
}

/// `n` ≥ 1 values from `high` to `low`, both exact, equally spaced in σ^(1/7) (Karras et al. 2022, formula 5).
fn karras(n: usize, low: f64, high: f64) -> Vec<f64> {
    let (a, b) = (high.powf(1.0 / 7.0), low.powf(1.0 / 7.0));
    let value = |i: usize| match i {
        0 => high,
        i if i + 1 == n => low,
        i => (a + (b - a) * i as f64 / (n - 1) as f64).powi(7),
    };
    (0..n).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(n: usize) -> Vec<f64> {
        [karras(n, 0.03, 14.6), vec![0.0]].concat()
    }

    #[test]
    fn the_automatic_plan_keeps_the_number_of_steps() {
        for n in [1, 2, 19, 20, 35, 36, 37, 50, 100] {
            let steps = plan(&ladder(n), None);
            assert_eq!(steps.len(), n);
            let jumps = steps.windows(2).filter(|w| w[1].0 > w[0].1).count();
            assert_eq!(jumps, usize::from(n >= 20) + usize::from(n >= 36), "{n}");
            assert_eq!(steps[n - 1].1, 0.0);
        }
    }

    #[test]
    fn a_jump_that_leads_nowhere_is_left_out() {
        let jump = |sigma_min, sigma_max| RestartSegment {
            sigma_min,
            sigma_max,
            values: 4,
            times: 3,
        };
        let plain = plan(&ladder(10), Some(&[]));
        assert_eq!(plan(&ladder(10), Some(&[jump(2.0, 0.1)])), plain);
        assert_eq!(plan(&ladder(10), Some(&[jump(0.0, 2.0)])), plain);
        assert_eq!(plan(&ladder(10), Some(&[jump(0.1, 2.0)])).len(), 10 + 3 * 3);
    }
}
