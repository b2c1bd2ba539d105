//! What a run needs of memory at least, known before its first step.

use crate::{Error, Precision, Task, TrainConfig};

/// Bytes that a run needs at least. Between its layers a network keeps several times as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastMemory {
    /// Gradients and what the optimiser remembers; the weights are there already.
    pub state: u64,
    /// The pictures of a step, and of those that are computed at once the numbers that no network does without. 0 where
    /// pictures keep their own sizes.
    pub batch: u64,
}

impl LeastMemory {
    /// That of a run of these settings.
    ///
    /// # Errors
    /// Settings of the data that are out of range.
    pub fn of(config: &TrainConfig, task: &dyn Task) -> Result<Self, Error> {
        let each = 4 + config.optimiser.bytes();
        let parameters = task.parameters();
        let state = parameters.iter().map(|(_, count)| (count * each) as u64);
        let shapes = config.data.fit()?.shapes;
        let shapes = shapes.iter().map(|shape| shape.map(u64::from));
        let smallest = shapes.min_by_key(|[height, width]| height * width);
        let batch = smallest.map_or(0, |[height, width]| {
            let bytes = match config.precision {
                Precision::F32 => 4,
                Precision::Bf16 => 2,
            };
            let read = (3 * height * width).saturating_mul(config.accumulation);
            let computed = task.numbers_of_a_picture([height, width]) * bytes;
            let computed = computed.saturating_mul(config.parallel);
            let each = read.saturating_add(computed);
            each.saturating_mul(config.batch as u64)
        });
        Ok(Self {
            state: state.sum(),
            batch,
        })
    }

    /// Whether it can be had.
    ///
    /// # Errors
    /// [`Error::Memory`] where it is more than `available` bytes.
    pub fn fits(self, config: &TrainConfig, available: u64) -> Result<(), Error> {
        let needed = self.state.saturating_add(self.batch);
        match needed <= available {
            true => Ok(()),
            false => Err(Error::Memory {
                batch: config.batch,
                accumulation: config.accumulation,
                pictures: size(self.batch),
                state: size(self.state),
                needed: size(needed),
                available: size(available),
            }),
        }
    }
}

/// Bytes as a person reads them.
pub(crate) fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_counted_and_named() {
        let text = |root: &str| {
            format!(
                "steps = 1\n{root}\nrate.peak = 1.0\ndata = {{ path = \"x\", size = [8, 16] }}\n[model]\nkind = \"stage2\"\n\
                 [model.unet]\nin_channels = 3\nout_channels = 3\nmodel_channels = 8\nnorm_groups = 4\n\
                 levels = [{{ channels = 8, resblocks = 1 }}]\n"
            )
        };
        let least = |root: &str| {
            let config: TrainConfig = latent_data::settings::from_toml(&text(root)).unwrap();
            let task = config.model.build(&crate::TaskContext {
                device: burn::tensor::Device::flex().autodiff(),
                more_devices: Vec::new(),
                learner: config.learner(),
                seed: 1,
                side: None,
            });
            let task = task.unwrap();
            let least = LeastMemory::of(&config, &*task).unwrap();
            (config, least)
        };
        let (config, one) = least("batch = 1");
        // The picture; latent, noise and their mixture; what the first layer gives.
        assert_eq!(one.batch, 8 * 16 * (3 + 4 * (3 * 3 + 8)));
        assert!(one.state > 0);
        one.fits(&config, one.state + one.batch).unwrap();
        let error = one.fits(&config, one.batch).unwrap_err();
        assert!(error.is_of_the_run());
        let (_, parts) = least("batch = 2\naccumulation = 3\nprecision = \"bf16\"");
        assert_eq!(parts.batch, 2 * 8 * 16 * (3 * 3 + 2 * (3 * 3 + 8)));
        // Without an overflow.
        let (config, huge) = least(&format!("batch = {}", i64::MAX));
        let error = huge.fits(&config, 1 << 40).unwrap_err().to_string();
        let batch = format!("batch = {}", i64::MAX);
        for word in [&batch, "accumulation", "1099.5 GB"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
