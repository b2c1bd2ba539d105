//! Which fields of a request were typed, and by which flag.

use crate::args::GenerateArgs;

/// The request's fields for which a flag was typed; those of a table behind a dot, both sides as `size`.
pub fn typed(args: &GenerateArgs) -> Vec<&'static str> {
    let (s, p, h) = (&args.sampling, &args.picture, &args.hires);
    let legacy = &args.legacy;
    let circular = legacy.circular || legacy.circularx || legacy.circulary;
    let sampler = s.sampler.is_some() || legacy.plms || legacy.dpm_solver;
    let sized = s.size.is_some() || s.width.is_some() || s.height.is_some();
    let prompt = &args.prompt;
    let t = &args.told;
    let sizes = [
        t.original_size,
        t.target_size,
        t.negative_original_size,
        t.negative_target_size,
    ]
    .iter()
    .any(Option::is_some)
        || t.crop.is_some()
        || t.negative_crop.is_some()
        || t.aesthetic_score.is_some()
        || t.negative_aesthetic_score.is_some();
    let fields = [
        ("prompt", prompt.words.is_some() || prompt.prompt.is_some()),
        ("negative_prompt", prompt.negative_prompt.is_some()),
        ("steps", s.steps.is_some()),
        ("cfg_scale", s.cfg_scale.is_some()),
        ("sampler", sampler),
        ("scheduler", s.scheduler.is_some() || sampler),
        ("seed", s.seed.is_some()),
        ("size", sized),
        ("clip_skip", s.clip_skip.is_some()),
        ("compat", s.compat.is_some()),
        ("weight_rule", s.weight_rule.is_some()),
        ("rng", s.rng.is_some()),
        ("eta", s.eta.is_some()),
        ("s_churn", s.s_churn.is_some()),
        ("s_tmin", s.s_tmin.is_some()),
        ("s_tmax", s.s_tmax.is_some()),
        ("s_noise", s.s_noise.is_some()),
        ("sigmas", s.sigmas.is_some()),
        ("subseed", s.subseed.is_some()),
        ("subseed_strength", s.subseed_strength.is_some()),
        ("seed_resize_from", s.seed_resize_from.is_some()),
        ("ensd", s.ensd.is_some()),
        ("cfg_rescale", s.cfg_rescale.is_some()),
        ("guidance_interval", s.guidance_interval.is_some()),
        ("dynamic_thresholding", s.dynamic_thresholding.is_some()),
        ("guidance.pag", s.guidance.pag.is_some()),
        ("guidance.sag", s.guidance.sag.is_some()),
        ("guidance.perp_neg", s.guidance.perp_neg.is_some()),
        ("guidance.skip_layers", s.guidance.slg_scale.is_some()),
        ("tiling", s.tiling.is_some() || circular),
        ("zero_empty_negative", t.zero_empty_negative.is_some()),
        ("sizes", sizes),
        (
            "images",
            !t.image.is_empty() || !t.image_strength.is_empty(),
        ),
        ("noise_level", t.noise_level.is_some()),
        ("init_image", p.init_img.is_some()),
        ("strength", p.strength.is_some()),
        ("resize_mode", p.resize_mode.is_some()),
        ("mask", p.mask.is_some()),
        ("mask_blur", p.mask_blur.is_some()),
        ("mask_invert", p.mask_invert),
        ("inpaint_fill", p.inpaint_fill.is_some()),
        ("inpaint_only_masked", p.only_masked),
        ("inpaint_padding", p.inpaint_padding.is_some()),
        ("outpaint", p.outpaint.is_some()),
        ("hires.scale", h.hires_scale.is_some()),
        ("hires.width", h.hires_width.is_some()),
        ("hires.height", h.hires_height.is_some()),
        ("hires.upscaler", h.hires_upscaler.is_some()),
        ("hires.steps", h.hires_steps.is_some()),
        (
            "hires.denoising_strength",
            h.hires_denoising_strength.is_some(),
        ),
        ("hires.sampler", h.hires_sampler.is_some()),
        ("hires.scheduler", h.hires_scheduler.is_some()),
        ("hires.prompt", h.hires_prompt.is_some()),
        ("hires.negative_prompt", h.hires_negative_prompt.is_some()),
    ];
    let typed = fields.into_iter().filter(|(_, typed)| *typed);
    typed.map(|(field, _)| field).collect()
}

/// The flag for a field.
pub fn flag_of(field: &str) -> String {
    match field {
        "init_image" => "--init-img".to_owned(),
        "images" => "--image".to_owned(),
        "sizes" => "--original-size and what goes with it".to_owned(),
        "inpaint_only_masked" => "--only-masked".to_owned(),
        field => format!("--{}", field.replace(['_', '.'], "-")),
    }
}
