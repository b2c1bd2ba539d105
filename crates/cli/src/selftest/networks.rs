//! Text encoder, U-Net and autoencoder with recipe weights, at the tiny size and at that of Stable Diffusion 1.5.

use burn::{
    module::Module,
    tensor::{DType, Device, Int, Tensor, TensorData},
};
use latent_checkpoint::tiny;
use latent_models::{Given, ParameterError, UNet, load, named};
use latent_testkit::{Golden, closeness, golden::TOKENS, recipe};
use serde_json::Value;

use super::{Check, Worst};
use crate::failure::Failure;

/// The tiny networks.
pub(super) fn tiny(device: &Device) -> Vec<Check<'_>> {
    vec![
        Check::new(
            "text encoder, tiny (of the norm)",
            "transformers",
            1e-4,
            || {
                let text = fill("text_encoder", tiny::tiny_text_encoder().init(device))?;
                text_encoder(&text, &Compare::tiny(), device)
            },
        ),
        Check::new("U-Net, tiny (of the norm)", "diffusers", 1e-4, || {
            let unet = fill("unet", tiny::tiny_unet(4).init(device))?;
            let inpainting = fill("unet", tiny::tiny_unet(9).init(device))?;
            let compare = Compare::tiny();
            let mut worst = Worst::default();
            for (unet, name, shape, t) in [
                (&unet, "square", [2, 4, 16, 16], &[999.0, 1.0][..]),
                (&unet, "wide", [1, 4, 8, 24], &[500.0]),
                (&inpainting, "inpaint9", [1, 9, 8, 8], &[501.0]),
            ] {
                compare.add(
                    &mut worst,
                    &format!("unet/{name}"),
                    run_unet(unet, name, shape, t, 48, device)?,
                )?;
            }
            Ok(worst)
        }),
        Check::new("autoencoder, tiny (of the norm)", "diffusers", 1e-4, || {
            let vae = fill("vae", tiny::tiny_autoencoder().init(device))?;
            autoencoder(&vae, 64, &Compare::tiny(), device)
        }),
    ]
}

/// The networks at full size. Each is dropped before the next is built.
pub(super) fn full(device: &Device) -> Vec<Check<'_>> {
    vec![
        Check::new(
            "text encoder, full size (of the norm)",
            "transformers",
            1e-3,
            || {
                let text = fill("text_encoder", named::clip_l().init(device))?;
                text_encoder(&text, &Compare::full()?, device)
            },
        ),
        Check::new(
            "autoencoder, full size (of the norm)",
            "diffusers",
            1e-3,
            || {
                let vae = fill("vae", named::autoencoder_kl_f8().init(device))?;
                autoencoder(&vae, 512, &Compare::full()?, device)
            },
        ),
        Check::new("U-Net, full size (of the norm)", "diffusers", 1e-3, || {
            let unet = fill("unet", named::unet_sd1().init(device))?;
            let mut worst = Worst::default();
            let out = run_unet(&unet, "full", [1, 4, 64, 64], &[500.0], 768, device)?;
            Compare::full()?.add(&mut worst, "unet/full", out)?;
            Ok(worst)
        }),
    ]
}

fn text_encoder(
    text: &latent_models::ClipText,
    compare: &Compare,
    device: &Device,
) -> Result<Worst, Failure> {
    let mut worst = Worst::default();
    for (name, skip) in [("text/last_hidden_state", 0), ("text/clip_skip_2", 1)] {
        compare.add(&mut worst, name, text.forward(token_rows(4, device)?, skip))?;
    }
    Ok(worst)
}

fn autoencoder(
    vae: &latent_models::Autoencoder,
    side: usize,
    compare: &Compare,
    device: &Device,
) -> Result<Worst, Failure> {
    let mut worst = Worst::default();
    let image: Tensor<4> = normal("vae/image", [1, 3, side, side], device).clamp(-1.0, 1.0);
    let moments = vae.encode(image);
    compare.add(&mut worst, "vae/mean", moments.mean)?;
    compare.add(&mut worst, "vae/logvar", moments.logvar)?;
    let decoded = vae.decode(normal("vae/latent", [1, 4, side / 8, side / 8], device));
    compare.add(&mut worst, "vae/decoded", decoded)?;
    Ok(worst)
}

/// A golden, whole or as a strided sample with shapes in its metadata.
struct Compare {
    golden: Golden,
    shapes: Option<Value>,
}

impl Compare {
    fn tiny() -> Self {
        Self {
            golden: Golden::networks_tiny(),
            shapes: None,
        }
    }

    fn full() -> Result<Self, Failure> {
        let golden = Golden::networks_sd15();
        let shapes = serde_json::from_str(golden.metadata("shapes")).map_err(Failure::run)?;
        Ok(Self {
            golden,
            shapes: Some(shapes),
        })
    }

    fn add<const D: usize>(
        &self,
        worst: &mut Worst,
        name: &str,
        got: Tensor<D>,
    ) -> Result<(), Failure> {
        let shape = got.dims().to_vec();
        let wanted: Vec<usize> = match &self.shapes {
            None => self.golden.shape(name).to_vec(),
            Some(shapes) => serde_json::from_value(shapes[name].clone()).map_err(Failure::run)?,
        };
        if shape != wanted {
            return Err(Failure::run(format!(
                "{name} has shape {shape:?}, the reference {wanted:?}"
            )));
        }
        let values: Vec<f32> = got.into_data().convert::<f32>().iter::<f32>().collect();
        let stride = match self.shapes {
            None => 1,
            Some(_) => (values.len() / 2048).max(1),
        };
        let sample: Vec<f32> = values.into_iter().step_by(stride).collect();
        worst.add(closeness(&sample, self.golden.values(name)));
        Ok(())
    }
}

fn fill<M: Module>(component: &str, module: M) -> Result<M, Failure> {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(module, fetch, DType::F32).map_err(Failure::run)
}

fn normal<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(recipe::normal(name, &shape), shape), device)
}

fn token_rows(count: usize, device: &Device) -> Result<Tensor<2, Int>, Failure> {
    let rows: Vec<Value> = serde_json::from_str(TOKENS).map_err(Failure::run)?;
    let ids: Vec<i64> = rows
        .iter()
        .take(count)
        .flat_map(|row| row["padded"].as_array().into_iter().flatten())
        .filter_map(Value::as_i64)
        .collect();
    Ok(Tensor::from_data(TensorData::new(ids, [count, 77]), device))
}

fn run_unet(
    unet: &UNet,
    name: &str,
    shape: [usize; 4],
    t: &[f32],
    context: usize,
    device: &Device,
) -> Result<Tensor<4>, Failure> {
    let x = normal(&format!("{name}/x"), shape, device);
    let context = normal(&format!("{name}/context"), [shape[0], 77, context], device);
    let given = Given {
        context: Some(context),
        ..Given::default()
    };
    unet.forward(x, Tensor::from_data(t, device), given)
        .map_err(Failure::run)
}
