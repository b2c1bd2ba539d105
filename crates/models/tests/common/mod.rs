//! Recipe networks and comparisons shared by the golden tests. Every test file uses some of it.
#![allow(dead_code)]

pub mod training;

use std::process::Command;
use std::sync::Once;

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::unet::{Attention, Heads, Level, UNet, timestep_sinusoid};
use latent_models::{
    AutoencoderConfig, ClipText, ClipTextConfig, Given, ParameterError, Take, UNetConfig, load,
    named,
};
use latent_ops::Cpu;
use latent_testkit::{Golden, closeness, golden, recipe};
use serde_json::Value;

/// Names the instruction set of a test that [`on_every_instruction_set`] runs again.
const INSTRUCTION_SET: &str = "LATENT_CPU";

/// Runs all tests of this file again with each other instruction set of this machine, in a process
/// of its own each, since a process has one for good.
pub fn on_every_instruction_set() {
    if std::env::var_os(INSTRUCTION_SET).is_some() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    for cpu in Cpu::every().filter(|cpu| *cpu != Cpu::detect()) {
        let level = cpu.level().to_string();
        let run = Command::new(&this).env(INSTRUCTION_SET, &level).output();
        let run = run.unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "with {level}:\n{said}");
        println!("with {level}: {}", said.trim().lines().last().unwrap());
    }
}

/// Takes the instruction set that this process was started for.
pub fn choose_instruction_set() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        if let Ok(name) = std::env::var(INSTRUCTION_SET) {
            let cpu: Cpu = name.parse().unwrap();
            cpu.choose().expect("nothing was computed before");
        }
    });
}

/// A network as it is loaded, and as users run it: packed.
pub fn both<N: Clone>(network: N, packed: impl FnOnce(N) -> N) -> [N; 2] {
    let plain = network.clone();
    [plain, packed(network)]
}

/// `module` with recipe weights of the named component.
pub fn fill<M: Module>(component: &str, module: M) -> M {
    choose_instruction_set();
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(module, fetch, DType::F32).unwrap()
}

/// A test input by name.
pub fn normal<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The first `count` padded id rows of the token golden.
pub fn padded_ids(count: usize) -> Tensor<2, Int> {
    let rows: Vec<Value> = serde_json::from_str(golden::TOKENS).unwrap();
    ids(rows[..count].iter().map(|row| &row["padded"]))
}

/// The five texts of the family's text encoders, padded with the end token (`end`) or with 0 (`zero`).
pub fn family_ids(padding: &str) -> Tensor<2, Int> {
    let rows: Vec<Value> = serde_json::from_str(golden::FAMILY_TOKENS).unwrap();
    let used = rows[..4].iter().chain(&rows[12..13]);
    ids(used.map(|row| &row[padding]["padded"]))
}

fn ids<'a>(rows: impl Iterator<Item = &'a Value>) -> Tensor<2, Int> {
    let rows = rows.flat_map(|row| row.as_array().unwrap());
    let ids: Vec<i64> = rows.map(|id| id.as_i64().unwrap()).collect();
    let shape = [ids.len() / 77, 77];
    Tensor::from_data(TensorData::new(ids, shape), &Device::flex())
}

/// The text encoder of the oracle's `tiny` size.
pub fn tiny_text() -> ClipTextConfig {
    ClipTextConfig {
        width: 48,
        layers: 3,
        heads: 4,
        intermediate: 192,
        ..named::clip_l()
    }
}

/// The family's text encoders of the oracle's `tiny` size, in the order of [`check_texts`]'s.
pub fn tiny_texts() -> [ClipTextConfig; 3] {
    let tiny = |config: ClipTextConfig, width, layers| ClipTextConfig {
        width,
        layers,
        heads: 4,
        intermediate: 4 * width,
        projection: config.projection.map(|_| width),
        ..config
    };
    [
        tiny(named::clip_h(), 48, 24),
        tiny(named::clip_g(), 48, 12),
        tiny(named::clip_l(), 32, 3),
    ]
}

/// OpenCLIP-H, OpenCLIP-bigG and CLIP-L as the pipelines of Stable Diffusion 2.x and SDXL use them,
/// and with one more layer left out, one network after another, each unpacked and packed.
pub fn check_texts(golden: &Golden, [h, g, l]: [ClipTextConfig; 3], tolerance: f64) {
    let network = |component, config: ClipTextConfig| fill(component, config.init(&Device::flex()));
    let run = |name: &str, text: &ClipText, ids: &Tensor<2, Int>, first, take: Take| {
        for (case, skip) in [("context", first), ("clip_skip_1", first + 1)] {
            let states = text.encode(ids.clone(), Take { skip, ..take });
            check(golden, &format!("{name}/{case}"), states.states, tolerance);
            if let Some(pooled) = states.pooled {
                check(golden, &format!("{name}/pooled"), pooled, tolerance);
            }
        }
    };
    let both = |name: &str, text: ClipText, ids: &Tensor<2, Int>, first, take: Take| {
        run(name, &text, ids, first, take);
        run(name, &text.packed(), ids, first, take);
    };
    let normed = Take {
        skip: 0,
        normed: true,
        pooled: false,
    };
    let (zero, end) = (family_ids("zero"), family_ids("end"));
    // An original file has 24 layers of which 23 are used; a folder has these alone.
    let shorter = ClipTextConfig {
        layers: h.layers - 1,
        ..h.clone()
    };
    both("text_h", network("text_encoder", h), &zero, 1, normed);
    both("text_h", network("text_encoder", shorter), &zero, 0, normed);
    let raw = Take {
        normed: false,
        pooled: true,
        ..normed
    };
    both("text_g", network("text_encoder_2", g), &zero, 1, raw);
    let raw = Take {
        pooled: false,
        ..raw
    };
    both("text_l", network("text_encoder", l), &end, 1, raw);
}

/// The U-Net of the oracle's `tiny` size.
pub fn tiny_unet(in_channels: usize) -> UNetConfig {
    let attention = Some(Attention {
        heads: Heads::Count(8),
        depth: 1,
    });
    let level = |(i, channels)| Level {
        channels,
        resblocks: 2,
        attention: if i < 3 { attention } else { None },
    };
    UNetConfig {
        in_channels,
        model_channels: 32,
        levels: [32, 64, 64, 96]
            .into_iter()
            .enumerate()
            .map(level)
            .collect(),
        context: Some(48),
        ..named::unet_sd1()
    }
}

/// A U-Net with other channels by level and another context.
pub fn narrowed(mut config: UNetConfig, channels: &[usize], context: usize) -> UNetConfig {
    config.model_channels = channels[0];
    config.context = Some(context);
    for (level, channels) in config.levels.iter_mut().zip(channels) {
        level.channels = *channels;
    }
    config
}

/// A U-Net with other transformer blocks at the levels that have any, and in the middle as many as at
/// the last of them.
pub fn depths(mut config: UNetConfig, depths: &[usize]) -> UNetConfig {
    let attentions = config.levels.iter_mut();
    let attentions = attentions.filter_map(|level| level.attention.as_mut());
    for (attention, depth) in attentions.zip(depths) {
        attention.depth = *depth;
    }
    if let (Some(middle), Some(last)) = (&mut config.middle, depths.last()) {
        middle.depth = *last;
    }
    config
}

/// The autoencoder of the oracle's `tiny` size.
pub fn tiny_autoencoder() -> AutoencoderConfig {
    let level = |channels| AutoencoderLevel {
        channels,
        attention: false,
    };
    AutoencoderConfig {
        levels: [32, 32, 64, 64].map(level).to_vec(),
        ..named::autoencoder_kl_f8()
    }
}

/// Pooled text of this width and numbers of sizes, as SDXL takes them.
pub fn sizes(pooled: usize, numbers: &[f32]) -> Tensor<2> {
    let numbers = Tensor::from_data(numbers, &Device::flex());
    let sinusoids = timestep_sinusoid(numbers, 256).reshape([1, -1]);
    Tensor::cat(vec![normal("sdxl/pooled", [1, pooled]), sinusoids], 1)
}

/// A context and nothing else.
pub fn looking_at(context: Tensor<3>) -> Given {
    Given {
        context: Some(context),
        ..Given::default()
    }
}

/// The U-Net on the inputs that the oracle names after the case.
pub fn run_unet(
    unet: &UNet,
    name: &str,
    shape: [usize; 4],
    t: &[f32],
    context: usize,
) -> Tensor<4> {
    let x = normal(&format!("{name}/x"), shape);
    let context = normal(&format!("{name}/context"), [shape[0], 77, context]);
    let t = Tensor::from_data(t, &Device::flex());
    unet.forward(x, t, looking_at(context)).unwrap()
}

/// All values, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Compares `tensor` with the golden of that name, whole or, where the golden ends in `/strided`, as
/// [`check_sample`] does.
pub fn check<const D: usize>(golden: &Golden, name: &str, tensor: Tensor<D>, tolerance: f64) {
    let sample = format!("{name}/strided");
    if golden.names().contains(&sample.as_str()) {
        return check_sample(golden, name, &sample, tensor, tolerance);
    }
    assert_eq!(tensor.dims().as_slice(), golden.shape(name), "{name}");
    close(
        name,
        closeness(&values(tensor), golden.values(name)),
        tolerance,
    );
}

/// Compares shape, norm and every n-th value, n chosen as the oracle does, with the golden `sample`.
pub fn check_sample<const D: usize>(
    golden: &Golden,
    name: &str,
    sample: &str,
    tensor: Tensor<D>,
    tolerance: f64,
) {
    let about = |key| serde_json::from_str::<Value>(golden.metadata(key)).unwrap()[name].clone();
    let shape: Vec<usize> = serde_json::from_value(about("shapes")).unwrap();
    assert_eq!(tensor.dims().as_slice(), shape, "{name}");
    let values = values(tensor);
    let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
    let of_norm = squares.sqrt() / about("norms").as_f64().unwrap() - 1.0;
    close(&format!("norm of {name}"), of_norm.abs(), tolerance);
    let stride = (values.len() / 2048).max(1);
    let values: Vec<f32> = values.into_iter().step_by(stride).collect();
    close(name, closeness(&values, golden.values(sample)), tolerance);
}

pub fn close(name: &str, error: f64, tolerance: f64) {
    println!("{name}: {error:.2e}");
    assert!(error <= tolerance, "{name}: {error:.2e} > {tolerance:.0e}");
}
