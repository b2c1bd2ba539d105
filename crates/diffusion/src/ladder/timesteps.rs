//! Lists of time steps that are not one of the three spacings.

use crate::{Error, NoiseSchedule, Sigmas};

use super::setting;

/// The rising time steps 1, 1 + s, 1 + 2s, … below `train`, s = ⌊train / steps⌋, the highest clamped to `train − 1`:
/// the DDIM discretisation of the latent-diffusion code. There are ⌈train / s⌉ of them, which can be **more** than
/// `steps` (31 for 30 of 1000).
pub fn strided_timesteps(train: usize, steps: usize) -> Result<Vec<usize>, Error> {
    check_steps(train, steps)?;
    Ok((0..train)
        .step_by(train / steps)
        .map(|t| (t + 1).min(train - 1))
        .collect())
}

/// The falling time steps of a distilled model (LCM, TCD): every ⌊train / original⌋-th training step was distilled, and
/// `steps` of the lowest `strength` share of those are picked evenly from the top.
///
/// # Errors
/// `steps` above `original · strength`, or `original` above `train`.
pub fn distilled_timesteps(
    train: usize,
    original: usize,
    steps: usize,
    strength: f64,
) -> Result<Vec<f64>, Error> {
    check_steps(train, original)?;
    let stride = train / original;
    let kept = (original as f64 * strength.clamp(0.0, 1.0)) as usize;
    if steps == 0 || steps > kept {
        let expected = format!(
            "1 to {kept}: a distilled model has {original} steps, and strength {strength} leaves {kept}"
        );
        return Err(setting("steps", steps, &expected));
    }
    Ok((0..steps)
        .map(|i| kept - 1 - (i as f64 * (kept as f64 / steps as f64)).floor() as usize)
        .map(|index| ((index + 1) * stride - 1) as f64)
        .collect())
}

pub(super) fn check_steps(train: usize, steps: usize) -> Result<(), Error> {
    if steps == 0 || steps > train {
        let expected = format!("1 to {train}, the number of training time steps");
        return Err(setting("steps", steps, &expected));
    }
    Ok(())
}

/// The ladder of [`strided_timesteps`]: variance-preserving samplers that walk from each visited time step to the one
/// below it and stop **at** the lowest (t = 1), whose σ is the last. With N = 1000 and 20 steps it has 19 intervals.
pub fn strided_ladder(schedule: &NoiseSchedule, steps: usize) -> Result<Sigmas, Error> {
    let mut visited = strided_timesteps(schedule.steps(), steps)?;
    visited.dedup();
    visited.reverse();
    let values = visited.iter().map(|&t| schedule.sigmas()[t]).collect();
    let timesteps = visited[..visited.len() - 1]
        .iter()
        .map(|&t| t as f64)
        .collect();
    Sigmas::new(values)?.with_timesteps(timesteps)
}
