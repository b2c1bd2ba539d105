//! Flags over a request.

use latent_pipeline::{
    Model,
    picture::Picture,
    request::{DynamicThresholding, Hires, MoreGuidance, Outpaint, Request, Size, Sizes, Tiling},
};

use super::Said;
use crate::{
    args::{
        ConditionArgs, GenerateArgs, Grid, GuidanceArgs, HiresArgs, LegacyArgs, PictureArgs,
        SamplingArgs, ToldArgs,
    },
    failure::Failure,
};

/// Writes a value over a field where one was typed.
fn set<T>(field: &mut T, typed: Option<T>) {
    if let Some(value) = typed {
        *field = value;
    }
}

fn set_some<T>(field: &mut Option<T>, typed: Option<T>) {
    if typed.is_some() {
        *field = typed;
    }
}

/// Lays everything typed over `request`.
///
/// # Errors
/// Values that say nothing or contradict the model.
pub fn apply(args: &GenerateArgs, said: Said, request: &mut Request) -> Result<(), Failure> {
    let typed = args
        .prompt
        .words
        .clone()
        .or_else(|| args.prompt.prompt.clone());
    set(&mut request.prompt, typed);
    set(
        &mut request.negative_prompt,
        args.prompt.negative_prompt.clone(),
    );
    set_some(&mut request.model, args.model.model.clone());
    set_some(&mut request.vae, args.model.vae.clone());
    set_some(&mut request.text_encoder, args.model.text_encoder.clone());
    set_some(&mut request.dtype, args.model.dtype);
    set_some(&mut request.prediction, args.model.prediction);
    set(&mut request.vae_tiling, args.model.vae_tiling);
    sampling(&args.sampling, request)?;
    if let Some(Grid::Shape([columns, rows])) = args.output.grid {
        if args.sampling.batch_size.is_some() || args.sampling.batch_count.is_some() {
            return Err(Failure::input(format!(
                "--grid {columns}x{rows} says how many pictures are drawn: leave --batch-size and --batch-count out"
            )));
        }
        (request.batch_size, request.batch_count) = (1, columns * rows);
    }
    picture(&args.picture, request)?;
    condition(&args.condition, request);
    told(&args.told, request)?;
    if !said.size {
        own_size(request)?;
    }
    hires(&args.hires, request);
    legacy(&args.legacy, request)
}

/// A seed as typed: anything below 0 asks for a random one, as in sd.cpp.
fn seed(flag: &str, typed: i128) -> Result<Option<u64>, Failure> {
    if typed < 0 {
        return Ok(None);
    }
    u64::try_from(typed).map(Some).map_err(|_| {
        Failure::input(format!(
            "{flag} {typed} is out of range: expected −1 (random) or 0 to {}",
            u64::MAX
        ))
    })
}

fn sampling(args: &SamplingArgs, request: &mut Request) -> Result<(), Failure> {
    set(&mut request.compat, args.compat);
    set(&mut request.steps, args.steps);
    set(&mut request.cfg_scale, args.cfg_scale);
    if let Some(sampler) = &args.sampler {
        // A scheduler of the file belonged to its sampler.
        request.sampler.clone_from(sampler);
        request.scheduler = Request::default().scheduler;
    }
    set(&mut request.scheduler, args.scheduler.clone());
    if let Some(typed) = args.seed {
        request.seed = seed("--seed", typed)?;
    }
    if let Some(typed) = args.subseed {
        request.subseed = seed("--subseed", typed)?;
    }
    set(&mut request.subseed_strength, args.subseed_strength);
    set_some(&mut request.seed_resize_from, args.seed_resize_from);
    set(&mut request.ensd, args.ensd);
    set(
        &mut request.width,
        args.width.or(args.size.map(|s| s.width)),
    );
    set(
        &mut request.height,
        args.height.or(args.size.map(|s| s.height)),
    );
    set(&mut request.batch_size, args.batch_size);
    set(&mut request.batch_count, args.batch_count);
    match args.clip_skip {
        // sd.cpp's "unspecified", and ComfyUI's last layer, which is the same.
        Some(-1) => request.clip_skip = None,
        typed => set_some(&mut request.clip_skip, typed),
    }
    set_some(&mut request.weight_rule, args.weight_rule);
    set_some(&mut request.rng, args.rng);
    set_some(&mut request.eta, args.eta);
    set(&mut request.s_churn, args.s_churn);
    set(&mut request.s_tmin, args.s_tmin);
    set_some(&mut request.s_tmax, args.s_tmax);
    set(&mut request.s_noise, args.s_noise);
    set_some(&mut request.sigmas, args.sigmas.clone());
    set(&mut request.cfg_rescale, args.cfg_rescale);
    set(&mut request.tiling, args.tiling);
    if let Some(typed) = &args.guidance_interval {
        let [from, to] = typed[..] else {
            return Err(Failure::input(
                "--guidance-interval takes two fractions of the run, such as 0.1,0.8",
            ));
        };
        request.guidance_interval = Some([from, to]);
    }
    if let Some(typed) = &args.dynamic_thresholding {
        let default = DynamicThresholding::default();
        request.dynamic_thresholding = Some(match typed[..] {
            [percentile] => DynamicThresholding {
                percentile,
                ..default
            },
            [percentile, mimic] => DynamicThresholding { percentile, mimic },
            _ => {
                return Err(Failure::input(
                    "--dynamic-thresholding takes a percentile and a scale, such as 0.995,7",
                ));
            }
        });
    }
    guidance(&args.guidance, &mut request.guidance);
    Ok(())
}

/// What is typed of a kind of guidance lies over what the request has of it, or over its defaults.
fn guidance(args: &GuidanceArgs, asked: &mut MoreGuidance) {
    if let Some(scale) = args.pag {
        let pag = asked.pag.get_or_insert_default();
        pag.scale = scale;
        set(&mut pag.layers, args.pag_layers.clone());
    }
    if let Some(scale) = args.sag {
        let sag = asked.sag.get_or_insert_default();
        sag.scale = scale;
        set(&mut sag.blur, args.sag_blur);
    }
    set_some(&mut asked.perp_neg, args.perp_neg);
    if let Some(scale) = args.slg_scale {
        let skip = asked.skip_layers.get_or_insert_default();
        skip.scale = scale;
        set(&mut skip.layers, args.skip_layers.clone());
        set(&mut skip.start, args.skip_layer_start);
        set(&mut skip.end, args.skip_layer_end);
    }
}

fn picture(args: &PictureArgs, request: &mut Request) -> Result<(), Failure> {
    set_some(&mut request.init_image, args.init_img.clone());
    set(&mut request.strength, args.strength);
    set(&mut request.resize_mode, args.resize_mode);
    set_some(&mut request.mask, args.mask.clone());
    set(&mut request.mask_blur, args.mask_blur);
    request.mask_invert |= args.mask_invert;
    set(&mut request.inpaint_fill, args.inpaint_fill);
    request.inpaint_only_masked |= args.only_masked;
    set(&mut request.inpaint_padding, args.inpaint_padding);
    if let Some(typed) = &args.outpaint {
        let [left, right, top, bottom] = typed[..] else {
            return Err(Failure::input(
                "--outpaint takes four numbers of pixels, LEFT,RIGHT,TOP,BOTTOM, such as 128,128,0,0",
            ));
        };
        request.outpaint = Some(Outpaint {
            left,
            right,
            top,
            bottom,
        });
    }
    Ok(())
}

fn condition(args: &ConditionArgs, request: &mut Request) {
    set_some(&mut request.class, args.class.clone());
    set_some(&mut request.semantic_map, args.semantic_map.clone());
    set_some(&mut request.layout, args.layout.clone());
    set_some(&mut request.upscale, args.upscale.clone());
    set_some(&mut request.near, args.near.clone());
}

fn images(args: &ToldArgs, request: &mut Request) -> Result<(), Failure> {
    if !args.image.is_empty() {
        request.images = args.image.iter().cloned().map(Into::into).collect();
    }
    let strengths = &args.image_strength;
    if !strengths.is_empty() && strengths.len() != request.images.len() {
        return Err(Failure::input(format!(
            "--image-strength takes one number for each picture: there are {} pictures and {} numbers",
            request.images.len(),
            strengths.len()
        )));
    }
    for (image, strength) in request.images.iter_mut().zip(strengths) {
        image.strength = *strength;
    }
    Ok(())
}

fn told(args: &ToldArgs, request: &mut Request) -> Result<(), Failure> {
    let corner = |flag: &str, typed: &Option<Vec<usize>>| match typed.as_deref() {
        None => Ok(None),
        Some([top, left]) => Ok(Some([*top, *left])),
        Some(_) => Err(Failure::input(format!(
            "{flag} takes two numbers of pixels, TOP,LEFT, such as 0,128"
        ))),
    };
    set_some(&mut request.depth, args.depth.clone());
    images(args, request)?;
    set_some(&mut request.noise_level, args.noise_level);
    set_some(&mut request.zero_empty_negative, args.zero_empty_negative);
    let sizes = &mut request.sizes;
    set_some(&mut sizes.original, args.original_size);
    set_some(&mut sizes.crop, corner("--crop", &args.crop)?);
    set_some(&mut sizes.target, args.target_size);
    set_some(&mut sizes.score, args.aesthetic_score);
    set_some(&mut sizes.negative_score, args.negative_aesthetic_score);
    let negative = Sizes {
        original: args.negative_original_size,
        crop: corner("--negative-crop", &args.negative_crop)?,
        target: args.negative_target_size,
    };
    if negative != Sizes::default() {
        let typed = sizes.negative.get_or_insert_default();
        set_some(&mut typed.original, negative.original);
        set_some(&mut typed.crop, negative.crop);
        set_some(&mut typed.target, negative.target);
    }
    Ok(())
}

/// How much of the enlarged picture the built-in model's second pass draws anew.
const SECOND_PASS: f64 = 0.3;

/// Where nothing says a size, a guidance or steps, those that a model was trained here for. A given picture keeps its size.
///
/// # Errors
/// A small picture that cannot be read.
pub fn defaults_of(said: Said, model: &Model, request: &mut Request) -> Result<(), Failure> {
    let own = model.defaults(request)?;
    if !said.size && request.init_image.is_none() {
        (request.width, request.height) = (own.size.width, own.size.height);
    }
    if request.model.is_none() {
        in_two_passes(own.size, request);
    }
    if let Some(guidance) = own.guidance.filter(|_| !said.guidance) {
        request.cfg_scale = guidance;
    }
    if let Some(steps) = own.steps.filter(|_| !said.steps) {
        request.steps = steps;
    }
    Ok(request.validate()?)
}

/// Where nothing says a size, a picture keeps its own, with the edges that are added. The masked region alone is worked on at
/// the model's size, as in A1111.
fn own_size(request: &mut Request) -> Result<(), Failure> {
    let picture = request.init_image.as_ref().filter(|path| path.exists());
    if let Some(path) = picture.filter(|_| !request.inpaint_only_masked) {
        let picture = Picture::read(path)?.size();
        let edges = request.outpaint.unwrap_or_default();
        request.width = picture
            .width
            .saturating_add(edges.left)
            .saturating_add(edges.right);
        request.height = picture
            .height
            .saturating_add(edges.top)
            .saturating_add(edges.bottom);
    }
    Ok(())
}

/// The built-in model knows pictures of its own size: larger ones are drawn at about that and enlarged in a second pass.
fn in_two_passes(own: Size, request: &mut Request) {
    let Size { width, height } = request.canvas();
    let factor = (width as f64 / own.width as f64).max(height as f64 / own.height as f64);
    if factor < 1.5 || request.hires.is_some() || request.init_image.is_some() {
        return;
    }
    let first = |side: usize| ((side as f64 / factor / 8.0).round() as usize).max(1) * 8;
    request.hires = Some(Hires {
        width: Some(request.width),
        height: Some(request.height),
        denoising_strength: SECOND_PASS,
        ..Hires::default()
    });
    (request.width, request.height) = (first(width), first(height));
}

fn hires(args: &HiresArgs, request: &mut Request) {
    let asked = args.hires
        || args.hires_scale.is_some()
        || args.hires_width.is_some()
        || args.hires_height.is_some()
        || args.hires_upscaler.is_some()
        || args.hires_steps.is_some()
        || args.hires_denoising_strength.is_some()
        || args.hires_sampler.is_some()
        || args.hires_scheduler.is_some()
        || args.hires_prompt.is_some()
        || args.hires_negative_prompt.is_some();
    if !asked {
        return;
    }
    let hires = request.hires.get_or_insert_with(Hires::default);
    if let Some(scale) = args.hires_scale {
        // A factor typed now replaces a size from the file.
        (hires.scale, hires.width, hires.height) = (scale, None, None);
    }
    // 0 is sd.cpp's "not given".
    let given = |typed: Option<usize>| typed.filter(|v| *v > 0);
    set_some(&mut hires.width, given(args.hires_width));
    set_some(&mut hires.height, given(args.hires_height));
    set_some(&mut hires.steps, given(args.hires_steps));
    set(&mut hires.upscaler, args.hires_upscaler);
    set(&mut hires.denoising_strength, args.hires_denoising_strength);
    set_some(&mut hires.sampler, args.hires_sampler.clone());
    set_some(&mut hires.scheduler, args.hires_scheduler.clone());
    set_some(&mut hires.prompt, args.hires_prompt.clone());
    set_some(
        &mut hires.negative_prompt,
        args.hires_negative_prompt.clone(),
    );
}

fn legacy(args: &LegacyArgs, request: &mut Request) -> Result<(), Failure> {
    if args.plms {
        request.sampler = "PLMS".to_owned();
    }
    if args.dpm_solver {
        (request.sampler, request.scheduler) = ("DPM++ 2M".to_owned(), "Uniform".to_owned());
    }
    let (x, y) = (
        args.circular || args.circularx,
        args.circular || args.circulary,
    );
    match (x, y) {
        (true, true) => request.tiling = Tiling::Both,
        (true, false) => request.tiling = Tiling::X,
        (false, true) => request.tiling = Tiling::Y,
        (false, false) => {}
    }
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
