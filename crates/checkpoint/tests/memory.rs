//! Peak memory of loading: `cargo test -p latent-checkpoint --test memory -- --ignored`.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, HashMap};

use burn::tensor::{DType, Device};
use latent_checkpoint::convert::{Model, NamedPart, write_file};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::tiny_unet;
use latent_checkpoint::{Checkpoint, Dtype, LoadOptions, Network, Role, SchedulerConfig, Target};
use latent_models::UNetConfig;

/// A line of `/proc/self/status`, in bytes.
fn status(key: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<usize>().unwrap() * 1024
}

fn config() -> UNetConfig {
    let mut config = UNetConfig {
        model_channels: 192,
        context: Some(768),
        ..tiny_unet(4)
    };
    for (level, channels) in config.levels.iter_mut().zip([192, 384, 512, 512]) {
        level.channels = channels;
    }
    config
}

/// Loads a file of some hundred megabytes stored as `from` into memory as `to`.
fn peak(before: usize, from: Dtype, to: DType, size: usize, target: Target) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    let part = Network::Unet(config());
    let parameters = part.parameters();
    let count: usize = parameters
        .iter()
        .map(|(_, s)| s.iter().product::<usize>())
        .sum();
    let shapes: HashMap<String, usize> = parameters
        .iter()
        .map(|(n, s)| (n.clone(), s.iter().product()))
        .collect();
    let model = Model {
        parts: vec![NamedPart {
            role: Role::DENOISER,
            dtypes: parameters
                .iter()
                .map(|(name, _)| (name.clone(), from))
                .collect(),
            config: part,
        }],
        scheduler: SchedulerConfig::stable_diffusion(),
        sample_size: None,
        metadata: BTreeMap::new(),
        ..Model::default()
    };
    let mut values = |_: Role, name: &str| Ok(vec![0x11; shapes[name] * from.size()]);
    write_file(&path, target, &model, Existing::Refuse, &mut values).unwrap();

    let checkpoint = Checkpoint::open(&path).unwrap();
    // Writing 5 sets the high-water mark back to what is resident now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let options = LoadOptions::new(Device::flex(), to);
    let (unet, _) = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options, &mut |_, _| {})
        .unwrap();
    let (peak, in_memory) = (status("VmHWM") - before, count * size);
    let ratio = peak as f64 / in_memory as f64;
    println!(
        "{from} to {to:?}, {target:?}: {} MB in memory, peak {ratio:.3} of it",
        in_memory >> 20
    );
    assert!(ratio < 1.3, "the peak is {ratio:.3} of the model");
    assert_eq!(latent_models::parameter_count(&unet), count);
}

#[test]
#[ignore = "writes files of some hundred megabytes"]
fn loading_peaks_below_one_and_three_tenths_of_the_model() {
    // Memory that the allocator keeps from one case serves the next, so all are counted from the start.
    let before = status("VmRSS");
    peak(before, Dtype::F16, DType::F32, 4, Target::Safetensors);
    peak(before, Dtype::F32, DType::F32, 4, Target::Safetensors);
    peak(before, Dtype::F32, DType::F32, 4, Target::Ckpt);
    peak(before, Dtype::F32, DType::F16, 2, Target::Safetensors);
}
