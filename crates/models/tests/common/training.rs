//! Training as torch does it, and its goldens: the first step's gradients.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use latent_models::parameters;
use latent_testkit::{Golden, closeness};

use super::values;

/// Reads the gradient of every parameter, in the order of [`parameters`].
struct Reader {
    gradients: Gradients,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(&mut self.gradients);
        let gradient = gradient.expect("a gradient for every parameter");
        assert_eq!(gradient.dims(), param.val().dims());
        self.found.push(values(gradient));
    }
}

/// torch's AdamW with β = (0.9, 0.999), ε = 1e-8.
pub struct AdamW {
    steps: i32,
    rate: f64,
    decay: f64,
    /// First and second moments of every parameter.
    moments: Vec<[Vec<f64>; 2]>,
    gradients: Vec<Vec<f32>>,
    at: usize,
}

impl ModuleMapper for AdamW {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = &self.gradients[self.at];
        let [first, second] = &mut self.moments[self.at];
        self.at += 1;
        let [corrected, spread] = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(self.steps));
        let (rate, decay) = (self.rate, self.decay);
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let mut numbers = values(tensor.detach());
            for (i, p) in numbers.iter_mut().enumerate() {
                let g = f64::from(gradient[i]);
                first[i] = 0.9 * first[i] + 0.1 * g;
                second[i] = 0.999 * second[i] + 0.001 * g * g;
                let direction = first[i] / corrected / ((second[i] / spread).sqrt() + 1e-8);
                *p = (f64::from(*p) * (1.0 - rate * decay) - rate * direction) as f32;
            }
            Tensor::from_data(TensorData::new(numbers, shape), &device).require_grad()
        })
    }
}

impl AdamW {
    pub fn new<M: Module>(module: &M, rate: f64, decay: f64) -> Self {
        Self {
            steps: 0,
            rate,
            decay,
            moments: parameters(module)
                .iter()
                .map(|(_, shape)| [0, 1].map(|_| vec![0.0; shape.iter().product()]))
                .collect(),
            gradients: Vec::new(),
            at: 0,
        }
    }

    /// The module after a step by these gradients, in the order of [`parameters`].
    pub fn step<M: Module>(&mut self, module: M, gradients: Vec<Vec<f32>>) -> M {
        self.steps += 1;
        self.gradients = gradients;
        self.at = 0;
        module.map(self)
    }
}

/// The gradient of every parameter, in the order of [`parameters`].
pub fn gradients<M: Module>(module: &M, loss: Tensor<1>) -> Vec<Vec<f32>> {
    let mut reader = Reader {
        gradients: loss.backward(),
        found: Vec::new(),
    };
    module.visit(&mut reader);
    reader.found
}

/// A loss.
pub fn number(loss: &Tensor<1>) -> f64 {
    f64::from(values(loss.clone())[0])
}

/// Each gradient to 1e-3 of its norm. Where torch's is rounding alone (a bias before a normalisation
/// of single channels changes nothing), to as much of the largest norm as rounding may leave.
pub fn check_gradients<'a>(
    golden: &Golden,
    gradients: impl Iterator<Item = (&'a str, &'a Vec<f32>)>,
) {
    let gradients: Vec<_> = gradients.collect();
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|&g| f64::from(g).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let wanted = |name: &str| f64::from(golden.values(&format!("norm/{name}"))[0]);
    let floor = 1e-6
        * gradients
            .iter()
            .map(|(name, _)| wanted(name))
            .fold(0.0, f64::max);
    let mut worst = 0f64;
    let mut rounding = 0;
    for (name, gradient) in &gradients {
        let (got, want) = (norm(gradient), wanted(name));
        if want < floor {
            assert!(got < floor, "{name}: {got:.2e} where torch has {want:.2e}");
            rounding += 1;
            continue;
        }
        let sample: Vec<f32> = gradient
            .iter()
            .step_by((gradient.len() / 64).max(1))
            .copied()
            .collect();
        let sampled = closeness(&sample, golden.values(&format!("grad/{name}")));
        for error in [(got / want - 1.0).abs(), sampled] {
            assert!(error < 1e-3, "{name}: {error:.2e}");
            worst = worst.max(error);
        }
    }
    println!("worst gradient: {worst:.2e}; {rounding} are rounding");
    let stored = golden
        .names()
        .iter()
        .filter(|name| name.starts_with("norm/"))
        .count();
    assert_eq!(gradients.len(), stored);
}
