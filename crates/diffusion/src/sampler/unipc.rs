//! UniPC (Zhao et al. 2023): a predictor and a corrector that share their evaluations.

use burn::tensor::Tensor;

use super::walk::{Walk, Walked, factorial, phi, toward};
use super::{LowerOrderFinal, Sampler};

/// A prediction m = D(x, σ) and its λ = −ln σ.
type Known<const D: usize> = (f64, Tensor<D>);

/// UniP with UniC (Algorithms 5 to 8, data prediction): predict x at σ', evaluate there, and use that evaluation both to
/// correct the step just made and for the next one.
pub(super) fn unipc<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let order = walk.order();
    let n = walk.ladder.steps();
    let falling = walk
        .options
        .lower_order_final
        .unwrap_or(LowerOrderFinal::Always)
        .applies(n);
    let bh1 = walk.sampler == Sampler::UniPcBh1;
    let mut known: Vec<Known<D>> = Vec::new(); // newest first
    let mut last: Option<(Tensor<D>, usize)> = None; // the corrected x one step back and the order that left it
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let now = (-sigma.ln(), denoised.clone());
        if let Some((x_last, order)) = last.take()
            && !walk.options.disable_corrector.contains(&(i - 1))
        {
            x = update(&x_last, &known, now.0, Some(&denoised), order, bh1);
        }
        known.insert(0, now);
        known.truncate(order);
        let mut this = order.min(known.len());
        if falling {
            this = this.min(n - i);
        }
        last = Some((x.clone(), this));
        let to = if next == 0.0 {
            walk.options.unipc_final_sigma.min(sigma)
        } else {
            next
        };
        x = if to == 0.0 {
            denoised.clone()
        } else {
            update(&x, &known, -to.ln(), None, this, bh1)
        };
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// One step from x at `known[0]` to λ: the predictor, or the corrector where `at_end`, the prediction at λ, is known.
fn update<const D: usize>(
    x: &Tensor<D>,
    known: &[Known<D>],
    lambda: f64,
    at_end: Option<&Tensor<D>>,
    order: usize,
    bh1: bool,
) -> Tensor<D> {
    let (lambda_0, m_0) = &known[0];
    let h = lambda - lambda_0;
    let hh = -h;
    let base = toward(x, m_0, hh.exp());
    // r_k m-differences: those of the past, and for the corrector that of the end, where r = 1
    let mut nodes: Vec<(f64, &Tensor<D>)> = known[1..order]
        .iter()
        .map(|(l, m)| ((l - lambda_0) / h, m))
        .collect();
    nodes.extend(at_end.map(|m| (1.0, m)));
    if nodes.is_empty() || h == 0.0 {
        return base;
    }
    // B(h) a = Σ ρ_k D_k, with Σ_k ρ_k r_k^{j−1} = j! h φ_{j+1}(h) / B(h); UniPC fixes ρ = ½ where there is one node.
    let b = if bh1 { hh } else { hh.exp_m1() };
    let weights = if nodes.len() == 1 {
        vec![0.5]
    } else {
        let powers: Vec<f64> = nodes.iter().map(|(r, _)| *r).collect();
        let right: Vec<f64> = (1..=nodes.len() as u32)
            .map(|j| hh * phi(j + 1, hh) * factorial(j) / b)
            .collect();
        vandermonde(&powers, &right)
    };
    let terms = nodes.into_iter().zip(weights);
    terms.fold(base, |sum, ((r, m), rho)| {
        sum - (m.clone() - m_0.clone()) * (b * rho / r)
    })
}

/// Solves Σ_k ρ_k r_k^j = b_j, j = 0…n−1: the k-th Lagrange polynomial through the r is 1 at r_k and 0
/// at the others, so its coefficients, weighed by b, give ρ_k. The r differ, so it has a solution.
fn vandermonde(r: &[f64], b: &[f64]) -> Vec<f64> {
    let one = |k: usize| {
        // the coefficients of Π_{j≠k} (t − r_j)/(r_k − r_j), lowest power first
        let mut poly = vec![1.0];
        for (_, r_j) in r.iter().enumerate().filter(|(j, _)| *j != k) {
            let shifted = [&[0.0], poly.as_slice()].concat(); // t · poly
            poly.push(0.0);
            for (c, t) in poly.iter_mut().zip(shifted) {
                *c = (t - r_j * *c) / (r[k] - r_j);
            }
        }
        poly.iter().zip(b).map(|(c, b)| c * b).sum()
    };
    (0..r.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::vandermonde;

    #[test]
    fn vandermonde_solves() {
        let r = [-0.7, -1.9, 1.0];
        let rho = vandermonde(&r, &[0.3, -0.2, 1.1]);
        for (j, want) in [0.3, -0.2, 1.1].into_iter().enumerate() {
            let got: f64 = rho.iter().zip(r).map(|(p, r)| p * r.powi(j as i32)).sum();
            assert!((got - want).abs() < 1e-12);
        }
    }
}
