//! How the networks that measure are taught.

use burn::module::Module;
use burn::tensor::Tensor;
use latent_train::{
    Alone, Fill, Learner, LearnerSettings, Step, Update, initialise, torch_default,
};

use crate::{Error, Observer, observe};

/// Steps that the rate rises for.
const RISE: f64 = 100.0;

/// A course of so many steps; the rate rises for the first hundred and falls as half a cosine.
pub(crate) struct Course<'a> {
    /// What the person reads.
    pub what: &'a str,
    pub steps: u64,
    /// The largest rate.
    pub peak: f64,
    /// What the first weights are drawn from.
    pub seed: u64,
    pub settings: LearnerSettings,
    /// How a parameter begins, by its name, where it is not as torch's layers do.
    pub begin: fn(&str) -> Option<Fill>,
}

/// Teaches a network that lies on a device with autodiff: `loss` gives for the step of that number a mean over so many
/// pictures, or nothing to learn from. The network with its averaged weights.
///
/// # Errors
/// Those of `loss`, losses that are no numbers; [`Error::Stopped`].
pub(crate) fn teach<M: Module>(
    network: M,
    course: &Course<'_>,
    observer: &mut dyn Observer,
    mut loss: impl FnMut(&M, u64) -> Result<Option<(Tensor<1>, usize)>, Error>,
) -> Result<M, Error> {
    let usual = torch_default(&network, &[]);
    let rule =
        |name: &str, shape: &[usize]| (course.begin)(name).unwrap_or_else(|| usual(name, shape));
    let network = initialise(network, course.seed, &rule).map_err(latent_train::Error::from)?;
    let mut learner = Learner::new(network, course.settings);
    observer.stage(course.what, course.steps);
    for number in 0..course.steps {
        if let Some((loss, pictures)) = loss(&learner.network(), number)? {
            learner.accumulate(loss.backward(), pictures as f64);
            let rising = ((number + 1) as f64 / RISE).min(1.0);
            let turn = std::f64::consts::PI * number as f64 / course.steps as f64;
            let step = Step {
                number,
                seed: course.seed,
                first: 0,
            };
            learner.apply(&Update {
                step,
                rate: course.peak * rising * (0.5 + 0.5 * turn.cos()),
                peers: &Alone,
            })?;
        }
        observe::advance(observer, 1)?;
    }
    Ok(learner.averaged())
}
