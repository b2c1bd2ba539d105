//! What was typed, as a layer of settings.

use std::ffi::OsString;

use latent_data::counted;
use latent_pipeline::{
    asked::Layer,
    request::{DynamicThresholding, ImagePrompt, Lora, Name, Outpaint, Request, UsedHypernetwork},
};
use serde::Serialize;

use crate::{
    args::{
        ConditionArgs, GenerateArgs, Grid, GuidanceArgs, HiresArgs, LegacyArgs, ModelArgs,
        PictureArgs, SamplingArgs, ToldArgs,
    },
    failure::Failure,
};

type Done = Result<(), Failure>;

/// A layer that is being filled.
struct Typed(Layer);

impl Typed {
    fn set(&mut self, field: &str, typed: Option<impl Serialize>) -> Done {
        Ok(self.0.set(field, typed)?)
    }

    /// A flag without a value, which can only switch on.
    fn switch(&mut self, field: &str, typed: bool) -> Done {
        self.set(field, typed.then_some(true))
    }

    fn name(&mut self, field: &str, typed: &Option<std::path::PathBuf>) -> Done {
        self.set(field, typed.as_deref().map(Name::from))
    }

    /// A seed as typed: anything below 0 asks for a random one, as in sd.cpp.
    fn seed(&mut self, flag: &str, field: &str, typed: Option<i128>) -> Done {
        match typed {
            Some(..0) => self.0.open(field),
            Some(typed) => {
                let seed = u64::try_from(typed).map_err(|_| {
                    Failure::input(format!(
                        "{flag} {typed} is out of range: expected −1 (random) or 0 to {}",
                        u64::MAX
                    ))
                })?;
                self.set(field, Some(seed))?;
            }
            None => {}
        }
        Ok(())
    }
}

/// Everything typed that a request holds, to be laid over `below`.
///
/// # Errors
/// Values that say nothing or contradict the model.
pub fn layer(args: &GenerateArgs, below: &Request) -> Result<Layer, Failure> {
    let mut typed = Typed(Layer::default());
    let prompt = &args.prompt;
    typed.set("prompt", prompt.words.as_ref().or(prompt.prompt.as_ref()))?;
    typed.set("negative_prompt", prompt.negative_prompt.as_ref())?;
    typed.set("prompt_2", args.told.prompt_2.as_ref())?;
    typed.set("negative_prompt_2", args.told.negative_prompt_2.as_ref())?;
    model(&args.model, &mut typed)?;
    sampling(&args.sampling, &mut typed)?;
    if let Some(Grid::Shape([columns, rows])) = args.output.grid {
        if args.sampling.batch_size.is_some() || args.sampling.batch_count.is_some() {
            return Err(Failure::input(format!(
                "--grid {columns}x{rows} says how many pictures are drawn: leave --batch-size and --batch-count out"
            )));
        }
        typed.set("batch_size", Some(1))?;
        typed.set("batch_count", Some(columns * rows))?;
    }
    picture(&args.picture, &mut typed)?;
    condition(&args.condition, &mut typed)?;
    let controls = super::control::controls(&args.control, below)?;
    typed.set("control", controls)?;
    let adapters = super::ip_adapter::adapters(&args.ip_adapter, below)?;
    typed.set("ip_adapter", adapters)?;
    let references = super::reference::references(&args.reference, below)?;
    typed.set("reference", references)?;
    told(&args.told, below, &mut typed)?;
    hires(&args.hires, &mut typed)?;
    legacy(&args.legacy, &mut typed)?;
    Ok(typed.0)
}

fn model(args: &ModelArgs, typed: &mut Typed) -> Done {
    typed.name("model", &args.model)?;
    let loras = loras(&args.lora)?;
    typed.set("loras", (!loras.is_empty()).then_some(loras))?;
    let bending = hypernetworks(&args.hypernetwork)?;
    typed.set("hypernetworks", (!bending.is_empty()).then_some(bending))?;
    typed.name("vae", &args.vae)?;
    typed.name("text_encoder", &args.text_encoder)?;
    typed.set("compute.dtype", args.dtype)?;
    typed.set("prediction", args.prediction)?;
    typed.set("compute.vae_tiling", args.vae_tiling)
}

/// LoRAs as they are typed: `NAME[:UNET[:TEXT]]`.
///
/// # Errors
/// Strengths that are no numbers.
pub fn loras(texts: &[OsString]) -> Result<Vec<Lora>, Failure> {
    let exists = |name: &str| std::path::Path::new(name).exists();
    let each = texts.iter().map(|text| {
        let read = latent_pipeline::loras::typed(text, exists);
        read.map_err(|e| Failure::input(format!("--lora {}: {e}", text.display())))
    });
    each.collect()
}

fn hypernetworks(texts: &[OsString]) -> Result<Vec<UsedHypernetwork>, Failure> {
    let exists = |name: &str| std::path::Path::new(name).exists();
    let each = texts.iter().map(|text| {
        let read = latent_pipeline::hypernetworks::typed(text, exists);
        read.map_err(|e| Failure::input(format!("--hypernetwork {}: {e}", text.display())))
    });
    each.collect()
}

fn sampling(args: &SamplingArgs, typed: &mut Typed) -> Done {
    typed.set("compat", args.compat)?;
    typed.set("steps", args.steps)?;
    typed.set("guidance.scale", args.cfg_scale)?;
    typed.set("sampler", args.sampler.as_ref())?;
    typed.set("scheduler", args.scheduler.as_ref())?;
    typed.seed("--seed", "seed", args.seed)?;
    typed.seed("--subseed", "subseed", args.subseed)?;
    typed.set("subseed_strength", args.subseed_strength)?;
    typed.set("seed_resize_from", args.seed_resize_from)?;
    typed.set("ensd", args.ensd)?;
    typed.set("width", args.width.or(args.size.map(|s| s.width)))?;
    typed.set("height", args.height.or(args.size.map(|s| s.height)))?;
    typed.set("batch_size", args.batch_size)?;
    typed.set("batch_count", args.batch_count)?;
    match args.clip_skip {
        // sd.cpp's "unspecified", and ComfyUI's last layer, which is the same.
        Some(-1) => typed.0.open("clip_skip"),
        skip => typed.set("clip_skip", skip)?,
    }
    typed.set("weight_rule", args.weight_rule)?;
    typed.set("rng", args.rng)?;
    typed.set("eta", args.eta)?;
    typed.set("s_churn", args.s_churn)?;
    typed.set("s_tmin", args.s_tmin)?;
    typed.set("s_tmax", args.s_tmax)?;
    typed.set("s_noise", args.s_noise)?;
    typed.set("sigmas", args.sigmas.as_ref())?;
    typed.set("guidance.rescale", args.cfg_rescale)?;
    typed.set("tiling", args.tiling)?;
    if let Some(interval) = &args.guidance_interval {
        let [from, to] = interval[..] else {
            return Err(Failure::input(
                "--guidance-interval takes two fractions of the run, such as 0.1,0.8",
            ));
        };
        typed.set("guidance.interval", Some([from, to]))?;
    }
    if let Some(bounds) = &args.dynamic_thresholding {
        let default = DynamicThresholding::default();
        let (percentile, mimic) = match bounds[..] {
            [percentile] => (percentile, default.mimic),
            [percentile, mimic] => (percentile, mimic),
            _ => {
                return Err(Failure::input(
                    "--dynamic-thresholding takes a percentile and a scale, such as 0.995,7",
                ));
            }
        };
        typed.set("guidance.threshold.percentile", Some(percentile))?;
        typed.set("guidance.threshold.mimic", Some(mimic))?;
    }
    guidance(&args.guidance, typed)
}

fn guidance(args: &GuidanceArgs, typed: &mut Typed) -> Done {
    typed.set("guidance.pag.scale", args.pag)?;
    typed.set("guidance.pag.layers", args.pag_layers.as_ref())?;
    typed.set("guidance.sag.scale", args.sag)?;
    typed.set("guidance.sag.blur", args.sag_blur)?;
    freeu(args.freeu.as_deref(), typed)?;
    typed.set("guidance.perp_neg", args.perp_neg)?;
    typed.set("guidance.skip_layers.scale", args.slg_scale)?;
    typed.set("guidance.skip_layers.layers", args.skip_layers.as_ref())?;
    typed.set("guidance.skip_layers.start", args.skip_layer_start)?;
    typed.set("guidance.skip_layers.end", args.skip_layer_end)
}

fn freeu(args: Option<&[f64]>, typed: &mut Typed) -> Done {
    let Some(args) = args else { return Ok(()) };
    typed.0.table("guidance.freeu");
    match args {
        [] => Ok(()),
        [b1, b2, s1, s2] => {
            typed.set("guidance.freeu.b", Some([b1, b2]))?;
            typed.set("guidance.freeu.s", Some([s1, s2]))
        }
        _ => Err(Failure::input(
            "--freeu takes four factors, B1,B2,S1,S2, such as 1.5,1.6,0.9,0.2, or none",
        )),
    }
}

fn picture(args: &PictureArgs, typed: &mut Typed) -> Done {
    typed.name("start.image", &args.init_img)?;
    typed.set("start.strength", args.strength)?;
    typed.set("start.resize_mode", args.resize_mode)?;
    typed.name("start.mask", &args.mask)?;
    typed.set("start.mask_blur", args.mask_blur)?;
    typed.switch("start.mask_invert", args.mask_invert)?;
    typed.set("start.fill", args.inpaint_fill)?;
    typed.switch("start.only_masked", args.only_masked)?;
    typed.set("start.padding", args.inpaint_padding)?;
    if let Some(edges) = &args.outpaint {
        let [left, right, top, bottom] = edges[..] else {
            return Err(Failure::input(
                "--outpaint takes four numbers of pixels, LEFT,RIGHT,TOP,BOTTOM, such as 128,128,0,0",
            ));
        };
        let edges = Outpaint {
            left,
            right,
            top,
            bottom,
        };
        typed.set("start.outpaint", Some(edges))?;
    }
    Ok(())
}

fn condition(args: &ConditionArgs, typed: &mut Typed) -> Done {
    typed.set("condition.class", args.class.as_ref())?;
    typed.name("condition.semantic_map", &args.semantic_map)?;
    typed.name("condition.layout", &args.layout)?;
    typed.name("condition.upscale", &args.upscale)?;
    typed.set("condition.near", args.near.as_ref())
}

/// The pictures and the factor on each, which may be typed for the pictures of the layer below, too.
fn images(args: &ToldArgs, below: &Request, typed: &mut Typed) -> Done {
    let strengths = &args.image_strength;
    let mut images: Vec<ImagePrompt> = match args.image.is_empty() {
        true => below.condition.images.clone(),
        false => {
            let named = args.image.iter().map(|path| Name::from(path.as_path()));
            named.map(Into::into).collect()
        }
    };
    if !strengths.is_empty() && strengths.len() != images.len() {
        return Err(Failure::input(format!(
            "--image-strength takes one number for each picture: {} and {} were given",
            counted(images.len(), "picture"),
            counted(strengths.len(), "number")
        )));
    }
    if let Some(strength) = strengths.iter().find(|strength| !strength.is_finite()) {
        return Err(Failure::input(format!(
            "--image-strength {strength} is not a finite number"
        )));
    }
    for (image, strength) in images.iter_mut().zip(strengths) {
        image.strength = *strength;
    }
    let stated = !args.image.is_empty() || !strengths.is_empty();
    typed.set("condition.images", stated.then_some(images))
}

fn told(args: &ToldArgs, below: &Request, typed: &mut Typed) -> Done {
    let corner = |flag: &str, typed: &Option<Vec<usize>>| match typed.as_deref() {
        None => Ok(None),
        Some([top, left]) => Ok(Some([*top, *left])),
        Some(_) => Err(Failure::input(format!(
            "{flag} takes two numbers of pixels, TOP,LEFT, such as 0,128"
        ))),
    };
    typed.name("condition.depth", &args.depth)?;
    images(args, below, typed)?;
    typed.name("refiner", &args.refiner.refiner)?;
    typed.set("refiner_switch", args.refiner.refiner_switch)?;
    typed.set("condition.noise_level", args.noise_level)?;
    typed.set("zero_empty_negative", args.zero_empty_negative)?;
    typed.set("condition.sizes.original", args.original_size)?;
    typed.set("condition.sizes.crop", corner("--crop", &args.crop)?)?;
    typed.set("condition.sizes.target", args.target_size)?;
    typed.set("condition.sizes.score", args.aesthetic_score)?;
    typed.set(
        "condition.sizes.negative_score",
        args.negative_aesthetic_score,
    )?;
    typed.set(
        "condition.sizes.negative.original",
        args.negative_original_size,
    )?;
    let crop = corner("--negative-crop", &args.negative_crop)?;
    typed.set("condition.sizes.negative.crop", crop)?;
    typed.set("condition.sizes.negative.target", args.negative_target_size)
}

fn hires(args: &HiresArgs, typed: &mut Typed) -> Done {
    // 0 is sd.cpp's "not given"; either asks for the second pass.
    let sides = [args.hires_width, args.hires_height, args.hires_steps];
    if args.hires || sides.iter().any(Option::is_some) {
        typed.0.table("hires");
    }
    let [width, height, steps] = sides.map(|typed| typed.filter(|v| *v > 0));
    typed.set("hires.scale", args.hires_scale)?;
    typed.set("hires.width", width)?;
    typed.set("hires.height", height)?;
    typed.set("hires.steps", steps)?;
    typed.set("hires.upscaler", args.hires_upscaler)?;
    typed.set("hires.denoising_strength", args.hires_denoising_strength)?;
    typed.set("hires.sampler", args.hires_sampler.as_ref())?;
    typed.set("hires.scheduler", args.hires_scheduler.as_ref())?;
    typed.set("hires.prompt", args.hires_prompt.as_ref())?;
    typed.set("hires.negative_prompt", args.hires_negative_prompt.as_ref())
}

fn legacy(args: &LegacyArgs, typed: &mut Typed) -> Done {
    if args.plms {
        typed.set("sampler", Some("PLMS"))?;
    }
    if args.dpm_solver {
        typed.set("sampler", Some("DPM++ 2M"))?;
        typed.set("scheduler", Some("Uniform"))?;
    }
    let (x, y) = (
        args.circular || args.circularx,
        args.circular || args.circulary,
    );
    let tiling = match (x, y) {
        (true, true) => Some("both"),
        (true, false) => Some("x"),
        (false, true) => Some("y"),
        (false, false) => None,
    };
    typed.set("tiling", tiling)?;
    for (flag, typed, only) in [("--C", args.channels, 4), ("--f", args.factor, 8)] {
        if let Some(other) = typed.filter(|v| *v != only) {
            return Err(Failure::input(format!(
                "{flag} {other} cannot be honoured: the model decides, and Stable Diffusion 1.x has {only}"
            )));
        }
    }
    match args.mode.as_deref() {
        None | Some("img_gen" | "txt2img" | "img2img") => Ok(()),
        Some("convert") => Err(Failure::input(
            "--mode convert is a command of its own here: latent convert FROM TO",
        )),
        Some("metadata") => Err(Failure::input(
            "--mode metadata is a command of its own here: latent info FILE",
        )),
        Some(other) => Err(Failure::input(format!(
            "--mode {other} is not part of this version: expected img_gen"
        ))),
    }
}

/// The flag for a field.
pub fn flag_of(field: &str) -> String {
    let flag = match field {
        "start.image" => "init-img",
        "start.fill" => "inpaint-fill",
        "start.padding" => "inpaint-padding",
        "condition.images" => "image",
        "control.model" => "control",
        field if field.starts_with("control.preprocess") => "control-preprocess",
        "ip_adapter.model" => "ip-adapter",
        "ip_adapter.images" => "ip-adapter-image",
        "reference.image" => "reference",
        field if field.starts_with("loras") => "lora",
        field if field.starts_with("hypernetworks") => "hypernetwork",
        "condition.sizes" => "original-size and what goes with it",
        "condition.sizes.original" => "original-size",
        "condition.sizes.crop" => "crop",
        "condition.sizes.target" => "target-size",
        "condition.sizes.score" => "aesthetic-score",
        "condition.sizes.negative_score" => "negative-aesthetic-score",
        "condition.sizes.negative" | "condition.sizes.negative.original" => {
            "negative-original-size"
        }
        "condition.sizes.negative.crop" => "negative-crop",
        "condition.sizes.negative.target" => "negative-target-size",
        "guidance.scale" => "cfg-scale",
        "guidance.rescale" => "cfg-rescale",
        "guidance.interval" => "guidance-interval",
        "guidance.threshold" | "guidance.threshold.percentile" | "guidance.threshold.mimic" => {
            "dynamic-thresholding"
        }
        "guidance.pag.scale" => "pag",
        "guidance.sag.scale" => "sag",
        "guidance.skip_layers.layers" => "skip-layers",
        "guidance.skip_layers" | "guidance.skip_layers.scale" => "slg-scale",
        "guidance.skip_layers.start" => "skip-layer-start",
        "guidance.skip_layers.end" => "skip-layer-end",
        field if field.starts_with("start.outpaint") => "outpaint",
        field => {
            let tables = ["start.", "condition.", "compute.", "guidance."];
            let mut plain = tables.iter().filter_map(|table| field.strip_prefix(table));
            plain.next().unwrap_or(field)
        }
    };
    format!("--{}", flag.replace(['_', '.'], "-"))
}
