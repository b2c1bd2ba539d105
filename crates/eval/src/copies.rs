//! Whether drawn pictures are copies of training pictures.

use image::RgbImage;
use latent_metrics::{Features, Nearest, nearest, nearest_others, quantiles};

use crate::features::FeatureNet;
use crate::run::{COLUMNS, Evaluation};
use crate::training::Training;
use crate::{Closest, Copies, Error, Spread, sheet};

/// Pairs of the sheet of nearest pictures.
const PAIRS: usize = 32;

impl Evaluation<'_> {
    /// Drawn pictures, each with its caption, and their features beside those of training pictures; the nearest pairs go to the
    /// sheet of that name.
    pub(crate) fn copies(
        &self,
        training: &Training,
        feature_net: &FeatureNet,
        (drawn, captions, seen): (&[RgbImage], &[&str], &[f32]),
        name: &str,
    ) -> Result<Copies, Error> {
        let of = |numbers| Features::new(numbers, feature_net.width());
        let known = of(&training.features)?;
        let near = nearest(&of(seen)?, &known)?;
        let test = spread(&nearest(&of(&self.tested.features)?, &known)?)?;
        let nearer = near.iter().filter(|n| n.distance < test.percent_1);
        let nearer = nearer.count() as f64 / near.len() as f64;
        let mut order: Vec<usize> = (0..near.len()).collect();
        order.sort_by(|a, b| near[*a].distance.total_cmp(&near[*b].distance));
        order.truncate(PAIRS);
        let mut closest = Vec::new();
        let mut originals = Vec::new();
        for &at in &order {
            let Nearest { index, distance } = near[at];
            let (name, caption) = training.named(index);
            closest.push(Closest {
                distance,
                caption: captions[at].to_owned(),
                training: name.to_owned(),
                training_caption: caption.map(str::to_owned),
            });
            originals.push(training.picture(index)?);
        }
        let pairs: Vec<&RgbImage> = order
            .iter()
            .zip(&originals)
            .flat_map(|(at, original)| [&drawn[*at], original])
            .collect();
        sheet::write(&self.options.out.join(name), &pairs, COLUMNS)?;
        Ok(Copies {
            drawn: spread(&near)?,
            training: spread(&nearest_others(&known, self.options.count)?)?,
            test,
            nearer,
            closest,
        })
    }
}

fn spread(near: &[Nearest]) -> Result<Spread, Error> {
    let distances: Vec<f64> = near.iter().map(|n| n.distance).collect();
    let found = quantiles(&distances, &[0.0, 0.01, 0.05, 0.25, 0.5, 0.75])?;
    Ok(Spread {
        least: found[0],
        percent_1: found[1],
        percent_5: found[2],
        percent_25: found[3],
        median: found[4],
        percent_75: found[5],
    })
}
