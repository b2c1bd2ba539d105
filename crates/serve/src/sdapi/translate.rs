//! From A1111's fields to latent's tables. What cannot be honoured is refused by name.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::{control, names, options};
use crate::engine::Catalogue;
use crate::fault::{Fault, Result};
use crate::given::Given;
use crate::settings::{Settings, Style, styled};

/// What the translation reads beside the fields.
#[derive(Debug)]
pub struct Beside<'a> {
    /// What can be named.
    pub catalogue: &'a Catalogue,
    /// The styles.
    pub styles: &'a [Style],
    /// What holds where nothing is said.
    pub settings: Settings,
    /// How large pictures may be.
    pub limits: &'a crate::config::Limits,
}

/// What came of it.
#[derive(Debug)]
pub struct Translated {
    /// The tables.
    pub request: Map<String, Value>,
    /// The pictures.
    pub given: Given,
    /// The settings with those of the request over them.
    pub settings: Settings,
}

fn refused(field: &str, why: &str) -> Fault {
    Fault::new("field_unusable", format!("{field}: {why}")).of(field)
}

fn put(table: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    table.insert(field.to_owned(), value.into());
}

/// Fields of both requests.
///
/// # Errors
/// The first that cannot be honoured.
pub fn common(fields: &Fields, beside: &Beside<'_>) -> Result<Translated> {
    refuse(fields)?;
    let (prompt, negative) = styled(
        beside.styles,
        &fields.texts("styles"),
        fields.text("prompt").unwrap_or_default(),
        fields.text("negative_prompt").unwrap_or_default(),
    )?;
    let mut request = Map::new();
    let to = &mut request;
    put(to, "prompt", prompt);
    put(to, "negative_prompt", negative);
    for (field, theirs) in [
        ("steps", "steps"),
        ("width", "width"),
        ("height", "height"),
        ("batch_size", "batch_size"),
        ("batch_count", "n_iter"),
    ] {
        let value = fields.whole(theirs);
        if value < 1 {
            return Err(refused(theirs, &format!("is {value}: expected at least 1")));
        }
        put(to, field, value);
    }
    let sampler = fields.text("sampler_name").or(fields.text("sampler_index"));
    put(to, "sampler", sampler.unwrap_or("Euler"));
    let ladder = fields.text("scheduler");
    if let Some(ladder) = ladder.filter(|name| !name.eq_ignore_ascii_case("automatic")) {
        put(to, "scheduler", ladder);
    }
    if fields.whole("seed") >= 0 {
        put(to, "seed", fields.whole("seed"));
    }
    if let Some(strength) = fields.number("subseed_strength").filter(|s| *s != 0.0) {
        put(to, "subseed_strength", strength);
        if fields.whole("subseed") >= 0 {
            put(to, "subseed", fields.whole("subseed"));
        }
    }
    let from = (
        fields.whole("seed_resize_from_w"),
        fields.whole("seed_resize_from_h"),
    );
    if from.0 > 0 && from.1 > 0 {
        put(to, "seed_resize_from", format!("{}x{}", from.0, from.1));
    }
    if let Some(scale) = fields.number("cfg_scale") {
        put(to, "guidance", json!({ "scale": scale }));
    }
    for field in ["eta", "s_churn", "s_tmin", "s_noise"] {
        if let Some(value) = fields.number(field) {
            put(to, field, value);
        }
    }
    if let Some(most) = fields.number("s_tmax").filter(|most| *most > 0.0) {
        put(to, "s_tmax", most);
    }
    if fields.flag("tiling") {
        put(to, "tiling", "both");
    }
    if let Some((name, at)) = fields
        .text("refiner_checkpoint")
        .zip(fields.number("refiner_switch_at"))
    {
        let model = names::find(beside.catalogue, "refiner_checkpoint", name)?;
        put(to, "refiner", model.name.clone());
        put(to, "refiner_switch", at);
    }
    let settings = options::overridden(
        beside.settings.clone(),
        &fields.object("override_settings"),
        beside.catalogue,
    )?;
    let mut given = Given::default();
    scripts(fields, to, &mut given, beside)?;
    Ok(Translated {
        request,
        given,
        settings,
    })
}

/// Known fields that nothing here honours.
fn refuse(fields: &Fields) -> Result<()> {
    let flags = [
        ("restore_faces", "no model that restores faces is offered"),
        (
            "disable_extra_networks",
            "networks that a prompt names are always used: leave them out of the prompt",
        ),
    ];
    for (field, why) in flags {
        if fields.flag(field) {
            return Err(refused(field, why));
        }
    }
    let texts = [
        ("script_name", "there is no such script: none is offered"),
        (
            "firstpass_image",
            "the second pass begins with the first one's picture; use img2img",
        ),
        (
            "infotext",
            "send the fields themselves, as POST png-info reads them",
        ),
        ("latent_mask", "send the mask as mask"),
    ];
    for (field, why) in texts {
        if fields.text(field).is_some() {
            return Err(refused(field, why));
        }
    }
    match fields.number("s_min_uncond") {
        Some(least) if least > 0.0 => Err(refused(
            "s_min_uncond",
            "guidance is never left out for speed: expected 0",
        )),
        _ => Ok(()),
    }
}

/// Scripts that are always on.
fn scripts(
    fields: &Fields,
    request: &mut Map<String, Value>,
    given: &mut Given,
    beside: &Beside<'_>,
) -> Result<()> {
    for (name, script) in fields.object("alwayson_scripts") {
        if !name.eq_ignore_ascii_case("controlnet") {
            let field = "alwayson_scripts";
            return Err(refused(field, &format!("there is no script {name:?} here")));
        }
        let units = script.get("args").and_then(Value::as_array);
        for unit in units.into_iter().flatten() {
            control::add(unit, request, given, beside)?;
        }
    }
    Ok(())
}

/// The second pass of txt2img.
///
/// # Errors
/// What cannot be honoured.
pub fn hires(fields: &Fields, request: &mut Map<String, Value>) -> Result<()> {
    if fields.whole("firstphase_width") != 0 || fields.whole("firstphase_height") != 0 {
        return Err(refused(
            "firstphase_width",
            "give width and height of the first pass, and hr_resize_x and hr_resize_y",
        ));
    }
    if !fields.flag("enable_hr") {
        return Ok(());
    }
    let other = |field: &str, same: &str| fields.text(field).filter(|name| *name != same);
    if other("hr_checkpoint_name", "Use same checkpoint").is_some() {
        return Err(refused(
            "hr_checkpoint_name",
            "both passes are drawn with one model",
        ));
    }
    let mut hires = Map::new();
    let to = &mut hires;
    let (x, y) = (fields.whole("hr_resize_x"), fields.whole("hr_resize_y"));
    for (field, side) in [("width", x), ("height", y)] {
        if side > 0 {
            put(to, field, side);
        }
    }
    if x <= 0 && y <= 0 {
        put(to, "scale", fields.number("hr_scale").unwrap_or(2.0));
    }
    put(
        to,
        "upscaler",
        fields.text("hr_upscaler").unwrap_or("Latent"),
    );
    if fields.whole("hr_second_pass_steps") > 0 {
        put(to, "steps", fields.whole("hr_second_pass_steps"));
    }
    if let Some(strength) = fields.number("denoising_strength") {
        put(to, "denoising_strength", strength);
    }
    for (field, theirs, same) in [
        ("sampler", "hr_sampler_name", "Use same sampler"),
        ("scheduler", "hr_scheduler", "Use same scheduler"),
        ("prompt", "hr_prompt", ""),
        ("negative_prompt", "hr_negative_prompt", ""),
    ] {
        if let Some(value) = other(theirs, same) {
            put(to, field, value);
        }
    }
    put(request, "hires", hires);
    Ok(())
}

/// The given picture of img2img.
///
/// # Errors
/// None, or what cannot be honoured.
pub fn start(fields: &Fields, done: &mut Translated, beside: &Beside<'_>) -> Result<()> {
    let pictures = fields.texts("init_images");
    let first = match pictures.as_slice() {
        [] => return Err(Fault::new("not_found", "Init image not found")),
        [first] => first,
        _ => {
            return Err(refused(
                "init_images",
                "one picture is started from: send a request for each",
            ));
        }
    };
    let choice = |field: &str, names: &[&'static str]| {
        let at = usize::try_from(fields.whole(field)).ok();
        let name = at.and_then(|at| names.get(at).copied());
        name.ok_or_else(|| refused(field, &format!("expected 0 to {}", names.len() - 1)))
    };
    let mut start = Map::new();
    let to = &mut start;
    put(
        to,
        "image",
        done.given.add_text("init_images", first, beside.limits)?,
    );
    put(
        to,
        "resize_mode",
        choice("resize_mode", &["stretch", "crop", "fill"])?,
    );
    put(
        to,
        "strength",
        fields.number("denoising_strength").unwrap_or(0.75),
    );
    if fields
        .number("initial_noise_multiplier")
        .is_some_and(|factor| factor != 1.0)
    {
        return Err(refused("initial_noise_multiplier", "expected 1 or null"));
    }
    if let Some(mask) = fields.text("mask") {
        put(
            to,
            "mask",
            done.given.add_text("mask", mask, beside.limits)?,
        );
        put(to, "mask_blur", blur(fields)?);
        put(
            to,
            "mask_invert",
            fields.whole("inpainting_mask_invert") != 0,
        );
        put(
            to,
            "fill",
            choice(
                "inpainting_fill",
                &["fill", "original", "latent_noise", "latent_nothing"],
            )?,
        );
        if fields.flag("inpaint_full_res") {
            put(to, "only_masked", true);
            put(to, "padding", fields.whole("inpaint_full_res_padding"));
        }
    }
    put(&mut done.request, "start", start);
    Ok(())
}

fn blur(fields: &Fields) -> Result<i64> {
    if let Some(both) = fields.0.get("mask_blur").and_then(Value::as_i64) {
        return Ok(both);
    }
    match (fields.whole("mask_blur_x"), fields.whole("mask_blur_y")) {
        (x, y) if x == y => Ok(x),
        _ => Err(refused(
            "mask_blur_y",
            "a mask is blurred alike in both directions: expected mask_blur_x",
        )),
    }
}
