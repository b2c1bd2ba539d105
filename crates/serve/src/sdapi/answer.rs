//! What `txt2img` and `img2img` answer: pictures, the request with all defaults, and what was drawn, as text within JSON.

use std::io::Cursor;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use latent_queue::{Job, Picture};
use serde_json::{Value, json};

use super::fields::Fields;
use super::names;
use crate::app::Shared;
use crate::engine::Model;
use crate::fault::{Fault, Result};
use crate::submit::{Order, results};

/// What was asked.
#[derive(Debug)]
pub struct Asked {
    /// The fields, given pictures taken out.
    pub fields: Fields,
    /// What lies in the queue.
    pub order: Order,
    /// The model.
    pub model: Option<Model>,
}

/// The answer for a job that has ended.
///
/// # Errors
/// That of the job.
pub async fn of(app: &Shared, job: &Job, asked: Asked) -> Result<Value> {
    let Asked {
        fields,
        order,
        model,
    } = asked;
    let done = results(app, job).await?;
    let pixels = u64::from(order.width) * u64::from(order.height) * done.len() as u64;
    let fits = done.len() > 1 && pixels <= app.config.limits.pixels;
    let grid = fits && fields.flag("save_images") && !fields.flag("do_not_save_grid");
    let version = app.engine.version();
    let info = info(&fields, &order, model.as_ref(), &done, grid, &version, job);
    let sent = fields.flag("send_images");
    let images = move || {
        let mut images = Vec::with_capacity(done.len() + 1);
        if sent {
            if grid {
                images.push(BASE64_STANDARD.encode(as_grid(&done)?));
            }
            images.extend(done.iter().map(|(_, file)| BASE64_STANDARD.encode(file)));
        }
        Ok(images)
    };
    let images = app.engine(move |_| images()).await?;
    Ok(json!({
        "images": images,
        "parameters": fields.0,
        "info": info.to_string(),
    }))
}

fn info(
    fields: &Fields,
    order: &Order,
    model: Option<&Model>,
    done: &[(Picture, Vec<u8>)],
    grid: bool,
    version: &str,
    job: &Job,
) -> Value {
    let request = &order.request;
    let first = done.first().map(|(picture, _)| picture);
    let seed = first
        .and_then(|p| p.seed)
        .or_else(|| request["seed"].as_u64());
    let subseed = request["subseed"].as_i64().unwrap_or(-1);
    let varied = request["subseed_strength"]
        .as_f64()
        .is_some_and(|s| s > 0.0);
    let count = |from: i64, n: u32, rises: bool| if rises { from + i64::from(n) } else { from };
    let of_each = |value: &dyn Fn(&Picture) -> Value| -> Vec<Value> {
        done.iter().map(|(picture, _)| value(picture)).collect()
    };
    let mut texts = of_each(&|picture| picture.infotext.clone().into());
    if grid {
        texts.insert(0, texts[0].clone());
    }
    let sampler = first.and_then(|p| p.sampler.clone());
    let vae = request["vae"].as_str();
    let from_picture = request["start"].is_object();
    let strength =
        (from_picture || request["hires"].is_object()).then(|| fields.number("denoising_strength"));
    json!({
        "prompt": request["prompt"],
        "all_prompts": of_each(&|picture| picture.prompt.clone().into()),
        "negative_prompt": request["negative_prompt"],
        "all_negative_prompts": of_each(&|picture| picture.negative.clone().into()),
        "seed": seed,
        "all_seeds": of_each(&|picture| picture.seed.into()),
        "subseed": subseed,
        "all_subseeds": of_each(&|picture| count(subseed, picture.n, varied).into()),
        "subseed_strength": fields.number("subseed_strength"),
        "width": request["width"],
        "height": request["height"],
        "sampler_name": sampler.map_or_else(|| request["sampler"].clone(), Value::from),
        "cfg_scale": fields.number("cfg_scale"),
        "steps": request["steps"],
        "batch_size": request["batch_size"],
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": model.map(|model| names::model_name(&model.name)),
        "sd_model_hash": model.and_then(names::short_hash),
        "sd_vae_name": vae,
        "sd_vae_hash": null,
        "seed_resize_from_w": fields.whole("seed_resize_from_w"),
        "seed_resize_from_h": fields.whole("seed_resize_from_h"),
        "denoising_strength": strength.flatten(),
        "extra_generation_params": {},
        "index_of_first_image": u8::from(grid),
        "infotexts": texts,
        "styles": fields.texts("styles"),
        "job_timestamp": super::progress::stamp(job.created_ms),
        "clip_skip": request["clip_skip"].as_i64().unwrap_or(1),
        "is_using_inpainting_conditioning": false,
        "version": version,
        "notes": order.notes,
    })
}

/// All pictures in rows, as many as columns where that is possible.
fn as_grid(done: &[(Picture, Vec<u8>)]) -> Result<Vec<u8>> {
    let damaged = |error: image::ImageError| Fault::failed("picture_damaged", error.to_string());
    let count = done.len() as u32;
    let rows = (f64::from(count).sqrt().round() as u32).clamp(1, count.max(1));
    let columns = count.div_ceil(rows);
    let width = done
        .iter()
        .map(|(picture, _)| picture.width)
        .max()
        .unwrap_or(1);
    let height = done
        .iter()
        .map(|(picture, _)| picture.height)
        .max()
        .unwrap_or(1);
    let mut grid = RgbImage::new(width * columns, height * rows);
    for (i, (_, file)) in (0..).zip(done) {
        let picture = image::load_from_memory(file).map_err(damaged)?.to_rgb8();
        let (x, y) = (i % columns * width, i / columns * height);
        imageops::replace(&mut grid, &picture, x.into(), y.into());
    }
    let mut file = Vec::new();
    let to = &mut Cursor::new(&mut file);
    grid.write_to(to, ImageFormat::Png).map_err(damaged)?;
    Ok(file)
}
