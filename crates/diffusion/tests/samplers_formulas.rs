//! Variants that no golden covers, against the published formulas evaluated in f64 on one number: D(x, σ) =
//! sin(0.4 x)/(1 + σ), σ = 9, 5, 2.5, 1.2, 0.4, 0.1, x₀ = 11.7, every noise 0.5. diffusers' formulas were evaluated on the
//! variance-preserving latent with α and λ as it writes them.

mod common;

use burn::tensor::Tensor;
use common::{Function, run, tensor, values};
use latent_diffusion::{
    DeisVariable, LowerOrderFinal, Noise, Sampler, SamplerOptions, Sigmas, SolverType,
};

struct Half;

impl Noise for Half {
    fn between(&mut self, like: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        like.zeros_like() + 0.5
    }
}

fn options(order: usize, change: impl FnOnce(&mut SamplerOptions)) -> SamplerOptions {
    let mut options = SamplerOptions {
        order: Some(order),
        variance_preserving_end: Some(false),
        ..SamplerOptions::default()
    };
    change(&mut options);
    options
}

#[test]
fn variants_follow_the_published_formulas() {
    use LowerOrderFinal::{Below, Never};
    use Sampler::*;
    let falling = |o: &mut SamplerOptions| o.lower_order_final = Some(Below(15));
    let level = |o: &mut SamplerOptions| o.lower_order_final = Some(Never);
    let table = [
        (
            "UniPC bh1",
            UniPcBh1,
            options(2, |_| {}),
            0.36366731897711946,
        ),
        (
            "UniPC bh1, 3",
            UniPcBh1,
            options(3, |_| {}),
            0.3625960747435626,
        ),
        (
            "UniPC bh2, 3",
            UniPcBh2,
            options(3, |_| {}),
            0.36032507740301806,
        ),
        (
            "UniPC bh2, 3, level",
            UniPcBh2,
            options(3, level),
            0.18008606021693613,
        ),
        ("DPM++ 3M", Dpmpp2m, options(3, |_| {}), 0.21600649598574878),
        (
            "DPM++ 3M, falling",
            Dpmpp2m,
            options(3, falling),
            0.3717370140248712,
        ),
        (
            "DPM++ 3M, Euler at the end",
            Dpmpp2m,
            options(3, |o| o.euler_at_final = true),
            0.3346456465963747,
        ),
        (
            "DPM++ 2M, Heun",
            Dpmpp2m,
            options(2, |o| o.solver_type = Some(SolverType::Heun)),
            0.33356388900186873,
        ),
        (
            "DPM++ 2M SDE",
            Dpmpp2mSde,
            options(2, |_| {}),
            0.17844174254847556,
        ),
        (
            "DPM++ 2M SDE Heun",
            Dpmpp2mSdeHeun,
            options(2, |_| {}),
            0.15741631746007467,
        ),
        (
            "DEIS, 2, level",
            Deis,
            options(2, level),
            0.3345660352222322,
        ),
        (
            "DEIS, 3, level",
            Deis,
            options(3, level),
            0.3164145886021475,
        ),
        (
            "DEIS, 3, falling",
            Deis,
            options(3, falling),
            0.36044442646966307,
        ),
    ];
    let tab = options(3, |o| {
        o.lower_order_final = Some(Never);
        o.deis_variable = DeisVariable::VpTime;
    });
    // The reference integrates with 10⁴ rectangles, we to rounding.
    let loose = [("DEIS tAB, 3", Deis, tab, 0.3325122067476615)];
    let all = table.map(|row| (row, 2e-6)).into_iter();
    for ((name, sampler, options, want), tolerance) in all.chain(loose.map(|row| (row, 2e-5))) {
        let sigmas = Sigmas::new(vec![9.0, 5.0, 2.5, 1.2, 0.4, 0.1]).expect("a ladder");
        let mut d = Function::new(|x: Tensor<4>, s: f64| (x * 0.4).sin() / (1.0 + s));
        let x = tensor(vec![11.7], [1, 1, 1, 1]);
        let got = values(run(sampler, &options, &mut d, x, &sigmas, &mut Half))[0];
        let error = (f64::from(got) - want).abs();
        println!("{name:28} {got:.6} {error:.1e}");
        assert!(error < tolerance, "{name}: {got} instead of {want}");
    }
}
