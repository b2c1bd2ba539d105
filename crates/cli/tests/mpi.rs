//! `mpirun -n 2 latent train` with batches of 2 is one process with batches of 4. Needs Open MPI: `.ci/slow mpi`.

#![cfg(feature = "mpi")]

use std::{path::Path, process::Command};

use safetensors::SafeTensors;

const SETTINGS: &str = r#"
seed = 3
steps = 100
clip = 1.0
rate = { peak = 1e-3, warm_up = 10, decay = "cosine" }
ema = { kind = "half_life", pictures = 100 }

[data]
path = "pictures"
size = 8
crop = "random"

[model]
kind = "stage2"

[model.unet]
in_channels = 3
out_channels = 3
model_channels = 16
norm_groups = 4
levels = [{ channels = 16, resblocks = 1 }, { channels = 32, resblocks = 1 }]
"#;

/// The weights and averages that `line` trains with this batch.
fn trained(folder: &Path, batch: usize, line: &[&str]) -> Vec<f32> {
    let name = format!("batch{batch}");
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(&config, format!("batch = {batch}\n{SETTINGS}")).unwrap();
    let (program, first) = line.split_first().unwrap();
    let output = Command::new(program)
        .args(first)
        .args(["train", config.to_str().unwrap(), "--threads", "1", "--out"])
        .arg(folder.join(&name))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = folder
        .join(&name)
        .join("checkpoints/step-00000100/state.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = tensors
        .names()
        .into_iter()
        .filter(|n| !n.contains("moment"))
        .collect();
    names.sort_unstable();
    let bytes: Vec<u8> = names
        .into_iter()
        .flat_map(|n| tensors.tensor(n).unwrap().data().to_vec())
        .collect();
    bytes
        .chunks(4)
        .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn two_processes_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::create_dir(folder.join("pictures")).unwrap();
    for i in 0..16u32 {
        let picture = image::RgbImage::from_fn(10, 10, |x, y| {
            image::Rgb([
                (x * 20 + i * 9) as u8,
                (y * 25 + i * 31) as u8,
                (i * 15) as u8,
            ])
        });
        picture
            .save(folder.join(format!("pictures/{i}.png")))
            .unwrap();
    }
    let latent = env!("CARGO_BIN_EXE_latent");
    let one = trained(folder, 4, &[latent]);
    let mpirun = [
        "mpirun",
        "--allow-run-as-root",
        "--oversubscribe",
        "-n",
        "2",
        latent,
    ];
    let two = trained(folder, 2, &mpirun);
    assert_eq!(one.len(), two.len());
    let off = one
        .iter()
        .zip(&two)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max);
    println!("{} numbers, at most {off:.2e} apart", one.len());
    assert!(off < 1e-5, "{off:.2e}");
}
