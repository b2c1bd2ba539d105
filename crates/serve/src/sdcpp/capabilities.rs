//! What it says that it can do.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Result;
use crate::app::Shared;

/// Pixels of a side, at most, as a request's own check has it.
const SIDE: u32 = 16_384;

/// `GET capabilities`.
pub async fn show(State(app): State<Shared>) -> Result<Json<Value>> {
    let all = app.engine(|engine| Ok(engine.catalogue())).await?;
    let side = all.models.first().map_or(512, |model| model.side);
    let defaults = json!({
        "prompt": "", "negative_prompt": "", "width": side, "height": side, "seed": -1, "batch_count": 1, "strength": 0.75,
        "sample_params": { "sample_steps": 20, "guidance": { "txt_cfg": 7.0 } }, "output_format": "png",
    });
    let formats = json!(["png", "jpeg", "webp"]);
    let features = json!({
        "init_image": true, "mask_image": true, "control_image": false, "ref_images": false, "lora": true, "vae_tiling": true,
        "hires": true, "cache": false, "cancel_queued": true, "cancel_generating": true,
    });
    let lora = |lora: &crate::engine::Adapter| json!({ "name": lora.name, "path": lora.name });
    let model = app
        .settings
        .get()
        .model
        .or_else(|| Some(all.models.first()?.name.clone()));
    Ok(Json(json!({
        "model": { "name": model, "path": model },
        "current_mode": "img_gen",
        "supported_modes": ["img_gen"],
        "defaults": defaults,
        "defaults_by_mode": { "img_gen": defaults },
        "output_formats": formats,
        "output_formats_by_mode": { "img_gen": formats },
        "features": features,
        "features_by_mode": { "img_gen": features },
        "samplers": all.samplers.iter().map(|sampler| &sampler.name).collect::<Vec<_>>(),
        "schedulers": all.schedulers.iter().map(|scheduler| &scheduler.name).collect::<Vec<_>>(),
        "loras": all.loras.iter().map(lora).collect::<Vec<_>>(),
        "upscalers": all.latent_upscalers.iter().chain(&all.upscalers).map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "limits": {
            "min_width": 8, "max_width": SIDE, "min_height": 8, "max_height": SIDE,
            "max_batch_count": 64, "max_queue_size": app.config.limits.sdcpp_queue,
        },
    })))
}
