//! What people hang onto Stable Diffusion 1.5: a step held to a picture, a step that is shown one, a LoRA merged while the model is
//! read.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use half::f16;
use latent_checkpoint::adapter::{AdapterFile, Strengths};
use latent_checkpoint::tiny::{write_lora, write_parts};
use latent_checkpoint::{Adapter, Checkpoint, LoadOptions, Network, Role};
use latent_models::controlnet::ControlInput;
use latent_models::ip_adapter::ProjectionConfig;
use latent_models::unet::{Alter, Extras, Pictures};
use latent_models::{
    ClipTextConfig, ControlNetConfig, Given, Input, IpAdapterConfig, UNetConfig, named,
};
use latent_pipeline::request::Dtype;
use latent_testkit::recipe;
use serde_json::json;

use super::networks::{CONTEXT, fill, normal, types};
use super::{Bench, median, name, rounded};
use crate::{failure::Failure, screen};

/// The side of the latent.
const SIDE: usize = 64;
/// Tokens that a picture becomes.
const TOKENS: usize = 4;
/// The rank of the LoRA, and the modules that trainers give one to.
const RANK: usize = 32;
const MODULES: [&str; 12] = [
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "q_proj",
    "k_proj",
    "v_proj",
    "out_proj",
    "fc1",
    "fc2",
];

/// All three.
pub fn run(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    steps(bench, dtype)?;
    merging(bench, dtype)
}

/// A step with guidance: alone, with a ControlNet, with an IP-Adapter.
fn steps(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    let device = Device::flex();
    let (parameters, form) = types(dtype);
    let config = named::unet_sd1();
    let width = config.context.unwrap_or_default();
    let size = [SIDE, SIDE];
    let unet = fill(config.init(&device), parameters)?.packed(form, size);
    let net = ControlNetConfig::of(config.clone());
    let net = fill(net.init(&device), parameters)?.packed(form, size);
    let [down, middle, up] = config.attentions_on_context();
    let adapter = IpAdapterConfig {
        projection: ProjectionConfig::Linear {
            input: named::clip_h_vision().projection,
            tokens: TOKENS,
        },
        context: width,
        attentions: [down, up, middle].concat(),
    };
    let adapter = fill(adapter.init(&device), parameters)?;

    let x = normal("bench/x", [2, 4, SIDE, SIDE], &device);
    let t = Tensor::from_floats([500.0f32; 2], &device);
    let given = || Given {
        context: Some(normal("bench/context", [2, CONTEXT, width], &device)),
        ..Given::default()
    };
    let (told, own) = (
        unet.prepare(given()).map_err(Failure::run)?,
        net.prepare(given()).map_err(Failure::run)?,
    );
    let step = |extras: Extras| {
        let y = unet.run(Input {
            x: x.clone(),
            t: t.clone(),
            given: &told,
            alter: &Alter::Nothing,
            watch: false,
            states: None,
            extras,
        });
        std::hint::black_box(y.x.into_data());
    };
    let alone = bench.time("unet_cfg_step", name(dtype), &mut || {
        step(Extras::default());
    });
    let hint = net.embed(normal("bench/hint", [1, 3, 8 * SIDE, 8 * SIDE], &device));
    let held = bench.time("unet_control_cfg_step", name(dtype), &mut || {
        let residuals = net.run(ControlInput {
            x: x.clone(),
            t: t.clone(),
            given: &own,
            hint: &hint,
        });
        step(Extras {
            residuals: Some(residuals),
            ..Extras::default()
        });
    });
    let tokens = normal("bench/tokens", [2, TOKENS, width], &device).cast(parameters);
    let pictures = vec![Pictures {
        seen: adapter.keys_values(&tokens, &config, 1.0),
        mask: None,
    }];
    let shown = bench.time("unet_ip_adapter_cfg_step", name(dtype), &mut || {
        step(Extras {
            pictures: pictures.clone(),
            ..Extras::default()
        });
    });
    if !bench.json {
        println!(
            "    the step with a ControlNet takes {:.2} of the step alone, with an IP-Adapter {:.2}",
            held / alone,
            shown / alone
        );
    }
    Ok(())
}

/// The model read from a file of f16, with and without a LoRA, in turn.
fn merging(bench: &Bench, dtype: Dtype) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|e| Failure::run(format!("cannot make a temporary folder: {e}")))?;
    let (model, lora) = (
        folder.path().join("model.safetensors"),
        folder.path().join("lora.safetensors"),
    );
    let spinner = screen::spinner("a checkpoint of 2 GB and a LoRA of it are written");
    write(&model, &lora)?;
    spinner.finish_and_clear();
    let checkpoint = Checkpoint::open(&model)?;
    let adapter = Adapter::of(Arc::new(AdapterFile::open(&lora)?), Strengths::from(1.0))?;
    let read = |merged: bool| -> Result<f64, Failure> {
        let began = Instant::now();
        let mut options = LoadOptions::new(Device::flex(), types(dtype).0);
        if merged {
            options.patches.push(Arc::new(adapter.clone()));
        }
        let quiet = &mut |_, _| {};
        let unet = checkpoint.load::<UNetConfig>(Role::DENOISER, &options, quiet)?;
        let text = checkpoint.load::<ClipTextConfig>(Role::TEXT_ENCODER, &options, quiet)?;
        std::hint::black_box((unet.0, text.0));
        Ok(began.elapsed().as_secs_f64())
    };
    read(false)?;
    let (mut plain, mut merged) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        plain.push(read(false)?);
        merged.push(read(true)?);
    }
    let more = median(&merged) - median(&plain);
    if bench.json {
        let runs: Vec<f64> = merged.iter().copied().map(rounded).collect();
        println!(
            "{}",
            json!({"peer": "latent", "dtype": name(dtype), "what": "lora_merge", "seconds": rounded(more), "runs": runs,
                   "read": rounded(median(&plain))})
        );
    } else {
        println!(
            "{:<28} {:<5} {more:>8.4} s  beyond the {:.4} s of reading the model: rank {RANK}, every attention and feed-forward",
            "lora_merge",
            name(dtype),
            median(&plain)
        );
    }
    Ok(())
}

/// Stable Diffusion 1.5's U-Net and text encoder, and a LoRA of them.
fn write(model: &Path, lora: &Path) -> Result<(), Failure> {
    let networks: Vec<(Role, Network)> = vec![
        (Role::DENOISER, named::unet_sd1().into()),
        (Role::TEXT_ENCODER, named::clip_l().into()),
    ];
    let mut weights = |_: &str, name: &str, shape: &[usize]| -> Vec<f16> {
        let count = shape.iter().product();
        let numbers = recipe::uniform_from(name, 0, 0).take(count);
        numbers.map(|u| f16::from_f64(0.02 * u)).collect()
    };
    write_lora(lora, &networks, (RANK, &MODULES), &mut weights)?;
    write_parts(model, networks, &mut weights)?;
    Ok(())
}
