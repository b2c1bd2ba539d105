//! A network of the size that the program is to carry, beside the time that its arithmetic alone would take.

use burn::tensor::Device;
use latent_kernels::{Cpu, peaks};
use latent_models::unet::Heads;
use latent_models::{UNetConfig, parameter_count, parameters};
use latent_pipeline::request::Dtype;
use serde_json::json;

use super::networks::{CONTEXT, step, three_levels};
use super::{Bench, name};
use crate::failure::Failure;

/// Sides of the latent.
const SIDE: usize = 16;

/// One step with guidance.
pub fn run(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    let config = three_levels([128, 128, 192], Heads::Width(64), true);
    let device = Device::flex();
    let count = parameter_count(&config.init(&device));
    let seconds = step(bench, "unet_small_cfg_step", &config, SIDE, dtype)?;
    let [f32_peak, bf16_peak, int8_peak] = peaks(Cpu::current());
    let peak = match dtype {
        Dtype::Bf16 => bf16_peak,
        Dtype::Int8 => int8_peak,
        _ => f32_peak,
    };
    let operations = 2.0 * operations(&config, SIDE);
    let least = operations / peak;
    if bench.json {
        println!(
            "{}",
            json!({"what": "unet_small_arithmetic", "dtype": name(dtype), "parameters": count,
                   "gflop": operations / 1e9, "seconds": least, "ratio": seconds / least})
        );
    } else {
        println!(
            "    {:.1} M parameters, {:.2} GFLOP: {:.1} ms at the measured peak, {:.2} times that",
            count as f64 / 1e6,
            operations / 1e9,
            least * 1e3,
            seconds / least
        );
    }
    Ok(())
}

/// Floating-point operations of a step for one picture, Winograd counted as what it replaces: each number of a weight
/// meets each pixel of its layer's output, and attention compares all tokens. Keys and values of texts are made once for
/// a run and are not counted.
fn operations(config: &UNetConfig, side: usize) -> f64 {
    let deepest = config.levels.len() - 1;
    let named = parameters(&config.init(&Device::flex()));
    let mut sum = 0.0;
    for (name, shape) in named {
        let parts: Vec<&str> = name.split('.').collect();
        let level = |i: usize| parts.get(i).and_then(|part| part.parse().ok()).unwrap_or(0);
        let mut halved: usize = match parts[0] {
            "down_blocks" => level(1),
            "mid_block" => deepest,
            "up_blocks" => deepest - level(1),
            _ => 0,
        };
        match parts.get(2) {
            Some(&"downsamplers") => halved += 1,
            Some(&"upsamplers") => halved -= 1,
            _ => {}
        }
        let pixels = (side >> halved).pow(2) as f64;
        let once = parts.iter().any(|part| part.starts_with("time_emb"));
        let cached = name.contains("attn2.to_k") || name.contains("attn2.to_v");
        let numbers: usize = shape.iter().product();
        if shape.len() > 1 && !cached {
            sum += 2.0 * numbers as f64 * if once { 1.0 } else { pixels };
        }
        let keys = match name {
            _ if name.contains("attn1.to_q") => pixels,
            _ if name.contains("attn2.to_q") => CONTEXT as f64,
            _ => 0.0,
        };
        sum += 4.0 * keys * pixels * shape[0] as f64;
    }
    sum
}

#[cfg(test)]
mod tests {
    use latent_models::named;

    use super::*;

    #[test]
    fn operations_are_those_of_the_published_network() {
        // 1607 GFLOP for two pictures of 64×64, as the project's plan has it.
        let found = 2.0 * operations(&named::unet_sd1(), 64) / 1e9;
        assert!((1590.0..1625.0).contains(&found), "{found}");
    }
}
