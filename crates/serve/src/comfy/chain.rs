//! What a graph says, followed from its outputs to where everything comes from.

use super::graph::{Graph, Node, Result};
use super::refusal::{Reason, Refusal};
use super::table::{LATENT_METHODS, PIXEL_METHODS, method};

/// A model, and what was laid upon it.
#[derive(Clone, Debug)]
pub struct Model<'g> {
    /// What loads it.
    pub loader: &'g Node,
    /// LoRAs, the first one first.
    pub loras: Vec<&'g Node>,
    /// ComfyUI's number of the text encoder's layer, from −1.
    pub layer: Option<i64>,
}

/// One pass of sampling.
#[derive(Debug)]
pub struct Pass<'g> {
    /// The sampler.
    pub node: &'g Node,
    /// The denoiser.
    pub model: Model<'g>,
    /// The prompt and the negative prompt, each with its encoder.
    pub texts: [(&'g Node, Model<'g>); 2],
    /// Steps that are taken.
    pub steps: u64,
    /// The share of the ladder that they are.
    pub denoise: f64,
    /// What it begins with.
    pub from: From<'g>,
}

/// What a pass begins with.
#[derive(Debug)]
pub enum From<'g> {
    /// Noise alone.
    Empty(&'g Node),
    /// A picture.
    Picture(Start<'g>),
    /// The latent or the picture of a pass before it, enlarged.
    Pass(Box<Pass<'g>>, Larger<'g>),
}

/// A picture that is encoded.
#[derive(Debug)]
pub struct Start<'g> {
    /// What loads it and, in their order, what scales it.
    pub picture: Vec<&'g Node>,
    /// What loads the mask.
    pub mask: Option<&'g Node>,
    /// For inpainting: what lies under the mask is painted grey, and the mask grows by so much.
    pub grow: Option<u64>,
    /// The autoencoder.
    pub vae: Option<&'g Node>,
}

/// How a pass's result is enlarged.
#[derive(Clone, Copy, Debug)]
pub struct Larger<'g> {
    /// What enlarges it.
    pub node: &'g Node,
    /// By latent's name.
    pub upscaler: &'static str,
    /// The factor; otherwise width and height are stated.
    pub factor: Option<f64>,
}

/// All that is drawn.
#[derive(Debug)]
pub struct Drawing<'g> {
    /// The last pass.
    pub pass: Pass<'g>,
    /// The autoencoder that decodes it, if it is not the model's own.
    pub vae: Option<&'g Node>,
    /// The node that decodes.
    pub decoder: &'g Node,
}

fn unusable<T>(node: &Node, input: &str, why: impl Into<String>) -> Result<T> {
    Err(node.refused(input, Reason::Unusable, why))
}

/// Follows the outputs of a graph.
///
/// # Errors
/// What is no request of latent's.
pub fn follow<'g>(graph: &'g Graph, outputs: &[&'g Node]) -> Result<Drawing<'g>> {
    let mut decoder: Option<&Node> = None;
    for output in outputs {
        let from = graph.link(output, "images", "IMAGE")?;
        if from.class.name != "VAEDecode" {
            return unusable(
                output,
                "images",
                format!("comes from {}: expected VAEDecode", from.class.name),
            );
        }
        if decoder.is_some_and(|known| known.id != from.id) {
            return unusable(
                output,
                "images",
                "a graph is one drawing: all outputs take the pictures of one VAEDecode",
            );
        }
        decoder = Some(from);
    }
    let nothing = || Refusal::whole(Reason::NoOutputs, "nothing is given out");
    let decoder = decoder.ok_or_else(nothing)?;
    Ok(Drawing {
        vae: vae(graph, decoder)?,
        pass: pass(graph, graph.link(decoder, "samples", "LATENT")?, decoder, 2)?,
        decoder,
    })
}

/// The loader of an autoencoder; none for the one of a checkpoint.
fn vae<'g>(graph: &'g Graph, node: &Node) -> Result<Option<&'g Node>> {
    let from = graph.link(node, "vae", "VAE")?;
    Ok((from.class.name == "VAELoader").then_some(from))
}

/// The model or the text encoder of an input.
fn model<'g>(
    graph: &'g Graph,
    node: &'g Node,
    input: &'static str,
    kind: &'static str,
) -> Result<Model<'g>> {
    let (mut loras, mut layer) = (Vec::new(), None);
    let mut at = graph.link(node, input, kind)?;
    // A ring of nodes has no loader.
    for _ in 0..100 {
        match at.class.name {
            "CheckpointLoaderSimple" => {
                loras.reverse();
                return Ok(Model {
                    loader: at,
                    loras,
                    layer,
                });
            }
            "CLIPSetLastLayer" => {
                let stop = at.number("stop_at_clip_layer")?;
                layer.get_or_insert(stop as i64);
            }
            _ => loras.push(at),
        }
        let next = if kind == "MODEL" { "model" } else { "clip" };
        at = graph.link(at, next, kind)?;
    }
    unusable(node, input, "no checkpoint is at its beginning")
}

/// The pass of a sampler, of at most `depth`.
fn pass<'g>(graph: &'g Graph, node: &'g Node, behind: &Node, depth: u8) -> Result<Pass<'g>> {
    let advanced = match node.class.name {
        "KSampler" => false,
        "KSamplerAdvanced" => true,
        other => {
            return unusable(
                behind,
                "samples",
                format!("comes from {other}: expected KSampler or KSamplerAdvanced"),
            );
        }
    };
    if depth == 0 {
        return unusable(node, "latent_image", "a third pass is not offered");
    }
    let text = |input: &'static str| -> Result<(&'g Node, Model<'g>)> {
        let from = graph.link(node, input, "CONDITIONING")?;
        Ok((from, model(graph, from, "clip", "CLIP")?))
    };
    let (steps, denoise) = match advanced {
        false => (node.whole("steps", 1)?, node.number("denoise")?),
        true => advanced_steps(node)?,
    };
    Ok(Pass {
        node,
        model: model(graph, node, "model", "MODEL")?,
        texts: [text("positive")?, text("negative")?],
        steps,
        denoise,
        from: from(graph, node, depth)?,
    })
}

/// The steps that are taken, and the share of the ladder that they are.
fn advanced_steps(node: &Node) -> Result<(u64, f64)> {
    let all = node.whole("steps", 1)?;
    let (first, last) = (
        node.whole("start_at_step", 0)?,
        node.whole("end_at_step", 0)?,
    );
    let words = ["disable", "enable"];
    if node.choice("add_noise", &["enable", "disable"])? != "enable" {
        return unusable(
            node,
            "add_noise",
            "a pass that goes on in another's noise is not offered: expected enable",
        );
    }
    if last < all || node.choice("return_with_leftover_noise", &words)? == "enable" {
        return unusable(
            node,
            "end_at_step",
            format!("a pass goes to its end: expected at least {all} and no leftover noise"),
        );
    }
    if first >= all {
        return unusable(
            node,
            "start_at_step",
            format!("expected less than the steps, {all}"),
        );
    }
    let taken = all - first;
    Ok((taken, taken as f64 / all as f64))
}

fn from<'g>(graph: &'g Graph, sampler: &'g Node, depth: u8) -> Result<From<'g>> {
    let mut mask = None;
    let (mut at, mut behind, mut input) = (
        graph.link(sampler, "latent_image", "LATENT")?,
        sampler,
        "latent_image",
    );
    if at.class.name == "SetLatentNoiseMask" {
        mask = Some(graph.link(at, "mask", "MASK")?);
        (at, behind, input) = (graph.link(at, "samples", "LATENT")?, at, "samples");
    }
    let picture = |grow, own| {
        let (nodes, decoder) = pixels(graph, at)?;
        match decoder {
            None => Ok(From::Picture(Start {
                picture: nodes,
                mask: own,
                grow,
                vae: vae(graph, at)?,
            })),
            Some(decoder) => enlarged_pixels(graph, at, decoder, &nodes, own.is_some(), depth),
        }
    };
    match at.class.name {
        "EmptyLatentImage" if mask.is_none() => Ok(From::Empty(at)),
        "VAEEncode" => picture(None, mask),
        "VAEEncodeForInpaint" => {
            if mask.is_some() {
                return unusable(behind, "mask", "there is a mask already");
            }
            let own = graph.link(at, "mask", "MASK")?;
            picture(Some(at.whole("grow_mask_by", 0)?), Some(own))
        }
        "LatentUpscale" | "LatentUpscaleBy" if mask.is_none() => {
            let first = graph.link(at, "samples", "LATENT")?;
            let larger = larger(at, LATENT_METHODS)?;
            Ok(From::Pass(
                Box::new(pass(graph, first, at, depth - 1)?),
                larger,
            ))
        }
        other => unusable(
            behind,
            input,
            format!(
                "comes from {other}: expected EmptyLatentImage, VAEEncode, VAEEncodeForInpaint, LatentUpscale or LatentUpscaleBy"
            ),
        ),
    }
}

/// A second pass from the decoded picture of the first.
fn enlarged_pixels<'g>(
    graph: &'g Graph,
    encoder: &'g Node,
    decoder: &'g Node,
    scaled: &[&'g Node],
    masked: bool,
    depth: u8,
) -> Result<From<'g>> {
    let [scale] = scaled else {
        return unusable(
            encoder,
            "pixels",
            "between two passes the picture is scaled once",
        );
    };
    if masked {
        return unusable(encoder, "mask", "a second pass with a mask is not offered");
    }
    let first = graph.link(decoder, "samples", "LATENT")?;
    let larger = larger(scale, PIXEL_METHODS)?;
    Ok(From::Pass(
        Box::new(pass(graph, first, decoder, depth - 1)?),
        larger,
    ))
}

/// What loads the picture that is encoded and what scales it, in order; or what scales the picture of a decoder.
fn pixels<'g>(graph: &'g Graph, encoder: &'g Node) -> Result<(Vec<&'g Node>, Option<&'g Node>)> {
    let mut nodes = Vec::new();
    let mut at = graph.link(encoder, "pixels", "IMAGE")?;
    for _ in 0..8 {
        match at.class.name {
            "VAEDecode" => {
                nodes.reverse();
                return Ok((nodes, Some(at)));
            }
            "LoadImage" => {
                nodes.push(at);
                nodes.reverse();
                return Ok((nodes, None));
            }
            _ => nodes.push(at),
        }
        at = graph.link(at, "image", "IMAGE")?;
    }
    unusable(
        encoder,
        "pixels",
        "the picture is scaled more than eight times",
    )
}

fn larger<'g>(
    node: &'g Node,
    methods: &'static [(&'static str, &'static str)],
) -> Result<Larger<'g>> {
    let word = node.text("upscale_method")?;
    let upscaler = method(methods, word).ok_or_else(|| {
        let known: Vec<_> = methods.iter().map(|(name, _)| *name).collect();
        node.refused(
            "upscale_method",
            Reason::NotInList,
            format!("upscale_method: {word:?} not in {known:?}"),
        )
    })?;
    let by_factor = node.class.name.ends_with("By");
    Ok(Larger {
        node,
        upscaler,
        factor: by_factor.then(|| node.number("scale_by")).transpose()?,
    })
}
