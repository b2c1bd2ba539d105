//! Memory of SDXL at its published size: `.ci/slow xl-memory`. It writes a file of 6.9 GB below `target` and deletes it.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use latent_checkpoint::convert::{Model, NamedPart, write_file};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::TinyFamily;
use latent_checkpoint::{Dtype, Network, Role, StoredAutoencoder, Target};
use latent_models::named;
use latent_testkit::recipe::tensor_f16;

/// The most that a cold picture of 1024×1024 in bf16 may take.
const PEAK: u64 = 6_500_000_000;
/// The U-Net in bf16.
const UNET: u64 = 2 * 2_567_463_684;

/// SDXL's base model with recipe weights, as published: one file of f16.
fn write(path: &Path) {
    let autoencoder = StoredAutoencoder {
        scale: Some(0.13025),
        ..named::autoencoder_kl_f8().into()
    };
    let networks: [(Role, Network); 4] = [
        (Role::DENOISER, named::unet_sdxl_base().into()),
        (Role::AUTOENCODER, autoencoder.into()),
        (Role::TEXT_ENCODER, named::clip_l().into()),
        (Role::TEXT_ENCODER_2, named::clip_g().into()),
    ];
    let mut shapes = HashMap::new();
    let parts = networks.map(|(role, config)| {
        let parameters = config.parameters();
        let dtypes = parameters
            .iter()
            .map(|(name, _)| (name.clone(), Dtype::F16))
            .collect();
        let named = parameters.into_iter();
        shapes.extend(named.map(|(name, shape)| ((role, name), shape)));
        NamedPart {
            role,
            config,
            dtypes,
        }
    });
    let model = Model {
        parts: parts.into(),
        scheduler: TinyFamily::Sdxl.scheduler(),
        sample_size: Some(128),
        metadata: BTreeMap::new(),
        ..Model::default()
    };
    let mut values = |role: Role, name: &str| {
        let shape = &shapes[&(role, name.to_owned())];
        let values = tensor_f16(&format!("{}/{name}", role.folder()), shape, 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    write_file(
        path,
        Target::Safetensors,
        &model,
        Existing::Replace,
        &mut values,
    )
    .unwrap();
}

/// What a process had in memory at most.
#[derive(Debug, Default, Clone, Copy)]
struct Peaks {
    /// Everything, mapped pages of files included.
    resident: u64,
    /// Without those.
    own: u64,
}

/// Draws with the file; what the program had in memory at most.
fn draw(folder: &Path, file: &Path, more: &[&str]) -> Peaks {
    let mut child = Command::new(env!("CARGO_BIN_EXE_latent"))
        .args(["generate", "a cat", "--dtype", "bf16", "--steps", "1"])
        .args(["--width", "1024", "--height", "1024", "--seed", "1"])
        .args(["--overwrite", "-o", "cat.png", "--model"])
        .arg(file)
        .args(more)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let begun = Instant::now();
    let mut peaks = Peaks::default();
    let ended = loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key));
                let number =
                    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
                1024 * number.unwrap_or(0)
            };
            peaks.resident = peaks.resident.max(line("VmHWM:"));
            peaks.own = peaks.own.max(line("RssAnon:"));
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{more:?}");
    println!(
        "{:<60} peak {:.2} GB, of its own {:.2} GB, {:.0} s",
        more.join(" "),
        peaks.resident as f64 / 1e9,
        peaks.own as f64 / 1e9,
        begun.elapsed().as_secs_f64()
    );
    peaks
}

#[test]
#[ignore = "writes a file of 6.9 GB"]
fn a_cold_picture_of_sdxl_stays_within_its_bounds() {
    let kept = std::env::var_os("LATENT_XL").map(PathBuf::from);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = kept.unwrap_or_else(|| folder.path().join("xl.safetensors"));
    if !file.exists() {
        write(&file);
    }
    let cold = draw(folder.path(), &file, &[]);
    assert!(cold.resident <= PEAK, "{cold:?}");
}
