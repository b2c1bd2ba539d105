//! From a graph to latent's tables.

use serde_json::{Map, Value, json};

use super::chain::{Drawing, From, Larger, Model, Pass};
use super::graph::{Node, Result};
use super::pixels::{self, Prepared};
use super::refusal::Reason;
use super::uploads::Uploaded;
use crate::engine::Catalogue;
use crate::fault::Fault;
use crate::given::Given;
use crate::sdapi::names;

/// A request and its pictures.
#[derive(Debug, Default)]
pub struct Translated {
    /// The tables.
    pub request: Map<String, Value>,
    /// The pictures.
    pub given: Given,
}

fn unusable<T>(node: &Node, input: &str, why: impl Into<String>) -> Result<T> {
    Err(node.refused(input, Reason::Unusable, why))
}

/// Makes a request of a drawing. Its pictures are decoded and brought to size: to be called where that may take time.
///
/// # Errors
/// What latent does otherwise.
pub fn request(
    drawing: &Drawing<'_>,
    catalogue: &Catalogue,
    sent: &Uploaded,
) -> Result<Translated> {
    let mut done = Translated::default();
    let to = &mut done.request;
    let last = &drawing.pass;
    let first = match &last.from {
        From::Pass(first, larger) => {
            to.insert(
                "hires".into(),
                second_pass(first, last, *larger, catalogue)?.into(),
            );
            first.as_ref()
        }
        _ => last,
    };
    let mut put = |field: &str, value: Value| to.insert(field.to_owned(), value);
    put("compat", "comfyui".into());
    put("prompt", first.texts[0].0.text("text")?.into());
    put("negative_prompt", first.texts[1].0.text("text")?.into());
    put("steps", first.steps.into());
    put("seed", seed(first.node)?.into());
    put("sampler", sampler(first.node, catalogue)?.into());
    put("scheduler", scheduler(first.node, catalogue)?.into());
    put("guidance", json!({ "scale": first.node.number("cfg")? }));
    put("model", named(catalogue, &first.model)?.into());
    if let Some(layer) = layer(first)? {
        put("clip_skip", layer.into());
    }
    let loras = loras(first, catalogue)?;
    if !loras.is_empty() {
        put("loras", loras.into());
    }
    if let Some(vae) = one_vae(drawing, first)? {
        put("vae", autoencoder(catalogue, vae)?.into());
    }
    start(first, sent, &mut done)?;
    Ok(done)
}

fn seed(node: &Node) -> Result<u64> {
    let input = if node.class.name == "KSampler" {
        "seed"
    } else {
        "noise_seed"
    };
    node.whole(input, 0)
}

fn sampler<'g>(node: &'g Node, catalogue: &Catalogue) -> Result<&'g str> {
    let all = catalogue.samplers.iter();
    listed(
        node,
        "sampler_name",
        all.map(|one| (&one.name, &one.aliases)),
    )
}

fn scheduler<'g>(node: &'g Node, catalogue: &Catalogue) -> Result<&'g str> {
    let all = catalogue.schedulers.iter();
    listed(node, "scheduler", all.map(|one| (&one.name, &one.aliases)))
}

/// A name that is in a list, by itself or by another name.
fn listed<'g, 'c>(
    node: &'g Node,
    input: &str,
    mut known: impl Iterator<Item = (&'c String, &'c Vec<String>)>,
) -> Result<&'g str> {
    let given = node.text(input)?;
    let is = |name: &String| name.eq_ignore_ascii_case(given);
    match known.any(|(name, aliases)| is(name) || aliases.iter().any(is)) {
        true => Ok(given),
        false => {
            let told = format!(
                "{input}: {given:?} is in no list: GET /object_info/{} has it",
                node.class.name
            );
            Err(node.refused(input, Reason::NotInList, told))
        }
    }
}

fn named(catalogue: &Catalogue, model: &Model<'_>) -> Result<String> {
    let name = model.loader.text("ckpt_name")?;
    let found = names::find(catalogue, "ckpt_name", name);
    let known = || {
        catalogue
            .models
            .iter()
            .map(|model| &model.name)
            .collect::<Vec<_>>()
    };
    found.map(|model| model.name.clone()).map_err(|_| {
        let told = format!("ckpt_name: {name:?} not in {:?}", known());
        model.loader.refused("ckpt_name", Reason::NotInList, told)
    })
}

fn autoencoder(catalogue: &Catalogue, node: &Node) -> Result<String> {
    let name = node.text("vae_name")?;
    let known = catalogue.vaes.iter().find(|known| *known == name);
    known.cloned().ok_or_else(|| {
        let told = format!("vae_name: {name:?} not in {:?}", catalogue.vaes);
        node.refused("vae_name", Reason::NotInList, told)
    })
}

/// The autoencoder that encodes and decodes, if it is not the model's own.
fn one_vae<'g>(drawing: &Drawing<'g>, first: &Pass<'g>) -> Result<Option<&'g Node>> {
    let own = |node: Option<&'g Node>| node.map(|node| node.text("vae_name")).transpose();
    if let From::Picture(start) = &first.from
        && own(start.vae)? != own(drawing.vae)?
    {
        return unusable(
            drawing.decoder,
            "vae",
            "one autoencoder encodes and decodes",
        );
    }
    Ok(drawing.vae)
}

/// The layer of the text encoder.
fn layer(pass: &Pass<'_>) -> Result<Option<i64>> {
    let [(positive, with), (_, without)] = &pass.texts;
    if with.loader.id != pass.model.loader.id || without.loader.id != pass.model.loader.id {
        return unusable(
            positive,
            "clip",
            "the text encoder is the one of the model's checkpoint",
        );
    }
    if with.layer != without.layer {
        return unusable(
            positive,
            "clip",
            "both prompts are read at one layer of the text encoder",
        );
    }
    Ok(with.layer)
}

/// LoRAs on the denoiser, on the text encoder, or on both.
fn loras(pass: &Pass<'_>, catalogue: &Catalogue) -> Result<Vec<Value>> {
    let [(positive, with), (_, without)] = &pass.texts;
    let ids = |model: &Model<'_>| {
        model
            .loras
            .iter()
            .map(|node| node.id.clone())
            .collect::<Vec<_>>()
    };
    if ids(with) != ids(without) {
        return unusable(
            positive,
            "clip",
            "both prompts are read with the same LoRAs",
        );
    }
    let mut nodes = pass.model.loras.clone();
    for node in &with.loras {
        if !nodes.iter().any(|known| known.id == node.id) {
            nodes.push(node);
        }
    }
    let all = nodes.into_iter().map(|node| {
        let on = |model: &Model<'_>, input: &str| match model
            .loras
            .iter()
            .any(|own| own.id == node.id)
        {
            true => node.number(input),
            false => Ok(0.0),
        };
        let name = node.text("lora_name")?;
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let mut known = catalogue.loras.iter();
        let found = known.find(|lora| [name, stem].contains(&lora.name.as_str()));
        let found = found.ok_or_else(|| {
            node.refused(
                "lora_name",
                Reason::NotInList,
                format!("lora_name: {name:?} is not known"),
            )
        })?;
        Ok(json!({
            "name": found.name,
            "strength": on(&pass.model, "strength_model")?,
            "text_strength": on(with, "strength_clip")?,
        }))
    });
    all.collect()
}

/// The second pass, which differs from the first in what a request can say.
fn second_pass(
    first: &Pass<'_>,
    last: &Pass<'_>,
    larger: Larger<'_>,
    catalogue: &Catalogue,
) -> Result<Map<String, Value>> {
    let (node, before) = (last.node, first.node);
    if !named_alike(&first.model, &last.model) || layer(first)? != layer(last)? {
        return unusable(
            node,
            "model",
            "both passes are drawn with one model and the same LoRAs",
        );
    }
    if seed(node)? != seed(before)? {
        return unusable(
            node,
            "seed",
            format!("both passes have one seed: expected {}", seed(before)?),
        );
    }
    if node.number("cfg")? != before.number("cfg")? {
        return unusable(
            node,
            "cfg",
            format!(
                "both passes have one scale: expected {}",
                before.number("cfg")?
            ),
        );
    }
    let mut hires = Map::new();
    let mut put = |field: &str, value: Value| hires.insert(field.to_owned(), value);
    put("upscaler", larger.upscaler.into());
    put("steps", last.steps.into());
    put("denoising_strength", last.denoise.into());
    put("sampler", sampler(node, catalogue)?.into());
    put("scheduler", scheduler(node, catalogue)?.into());
    for (field, at) in [("prompt", 0), ("negative_prompt", 1)] {
        let text = last.texts[at].0.text("text")?;
        if text != first.texts[at].0.text("text")? {
            put(field, text.into());
        }
    }
    if let Some(factor) = larger.factor {
        put("scale", factor.into());
        return Ok(hires);
    }
    larger.node.choice("crop", &["disabled", "center"])?;
    let sides = [
        larger.node.whole("width", 0)?,
        larger.node.whole("height", 0)?,
    ];
    if let (From::Empty(empty), [width, height]) = (&first.from, sides)
        && larger.node.choice("crop", &["disabled", "center"])? == "disabled"
        && sides.iter().all(|side| *side > 0)
        && width * empty.whole("height", 16)? != height * empty.whole("width", 16)?
    {
        return unusable(
            larger.node,
            "crop",
            "another aspect is cut, not stretched: expected center",
        );
    }
    for (field, side) in ["width", "height"].into_iter().zip(sides) {
        if side > 0 {
            put(field, side.into());
        }
    }
    if sides == [0, 0] {
        put("scale", 1.into());
    }
    Ok(hires)
}

/// Whether two passes have one model.
fn named_alike(one: &Model<'_>, other: &Model<'_>) -> bool {
    let ids = |model: &Model<'_>| -> Vec<String> {
        let nodes = [model.loader]
            .into_iter()
            .chain(model.loras.iter().copied());
        nodes.map(|node| node.id.clone()).collect()
    };
    ids(one) == ids(other)
}

fn start(pass: &Pass<'_>, sent: &Uploaded, done: &mut Translated) -> Result<()> {
    let request = &mut done.request;
    let mut put = |field: &str, value: u64| request.insert(field.to_owned(), value.into());
    match &pass.from {
        From::Empty(empty) => {
            if pass.denoise < 1.0 {
                return unusable(
                    pass.node,
                    "denoise",
                    "there is no picture to keep a part of: expected 1",
                );
            }
            put("width", empty.whole("width", 16)?);
            put("height", empty.whole("height", 16)?);
            put("batch_size", empty.whole("batch_size", 1)?);
            Ok(())
        }
        From::Picture(start) => {
            let Prepared {
                picture,
                mask,
                width,
                height,
            } = pixels::prepare(start, sent)?;
            put("width", width.into());
            put("height", height.into());
            let mut table = Map::new();
            table.insert("image".into(), done.given.put(picture).into());
            table.insert("strength".into(), pass.denoise.into());
            if let Some(mask) = mask {
                table.insert("mask".into(), done.given.put(mask).into());
                table.insert("mask_blur".into(), 0.into());
            }
            done.request.insert("start".into(), table.into());
            Ok(())
        }
        From::Pass(..) => unusable(pass.node, "latent_image", "a third pass is not offered"),
    }
}

/// The node and the input that a field of a request comes from.
pub fn place<'g>(drawing: &Drawing<'g>, fault: &Fault) -> (&'g Node, &'static str) {
    let last = &drawing.pass;
    let first = match &last.from {
        From::Pass(first, _) => first.as_ref(),
        _ => last,
    };
    let field = fault.field.as_deref().unwrap_or_default();
    let of_start = |input| match &first.from {
        From::Empty(node) => (*node, input),
        From::Picture(start) => (start.picture[0], "image"),
        From::Pass(..) => (first.node, "latent_image"),
    };
    match field {
        "width" => of_start("width"),
        "height" => of_start("height"),
        "batch_size" => of_start("batch_size"),
        "model" => (first.model.loader, "ckpt_name"),
        "vae" => (drawing.vae.unwrap_or(first.model.loader), "vae_name"),
        "prompt" => (first.texts[0].0, "text"),
        "negative_prompt" => (first.texts[1].0, "text"),
        "clip_skip" => (first.texts[0].0, "clip"),
        "scheduler" => (first.node, "scheduler"),
        "steps" => (first.node, "steps"),
        "sampler" => (first.node, "sampler_name"),
        "seed" => (first.node, "seed"),
        field if field.starts_with("guidance") => (first.node, "cfg"),
        field if field.starts_with("start.strength") => (first.node, "denoise"),
        field if field.starts_with("start") => of_start("image"),
        field if field.starts_with("hires") => match &last.from {
            From::Pass(_, larger) => (larger.node, "samples"),
            _ => (last.node, "latent_image"),
        },
        _ => (last.node, "latent_image"),
    }
}
