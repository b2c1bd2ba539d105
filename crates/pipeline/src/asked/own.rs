//! What pictures and models say for themselves where no layer says it.

use super::{DrawnWith, Layer, Said};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::request::{Compat, Hires, MAX_SIDE, Name, Request, RequestError, Size};
use crate::resources::Resources;

/// How much of the enlarged picture the built-in model's second pass draws anew.
const SECOND_PASS: f64 = 0.3;

/// `NAME.ENDING` beside `NAME.safetensors` is its autoencoder.
const AUTOENCODER: [&str; 3] = ["vae.safetensors", "vae.pt", "vae.ckpt"];

/// A picture keeps its own size, with the edges that are added. The masked region alone is worked on at the model's size, as
/// in A1111.
pub(super) fn size(resources: &dyn Resources, request: &mut Request) -> Result<()> {
    let there = |name: &&Name| resources.find(name).is_ok();
    let picture = request.start.image.as_ref().filter(there);
    if let Some(name) = picture.filter(|_| !request.start.only_masked) {
        let picture = resources.picture(name)?.size();
        let edges = request.start.outpaint.unwrap_or_default();
        let with = |side: usize, edges: [usize; 2]| {
            let [before, after] = edges;
            side.saturating_add(before).saturating_add(after)
        };
        let width = with(picture.width, [edges.left, edges.right]);
        let height = with(picture.height, [edges.top, edges.bottom]);
        if width.max(height) > MAX_SIDE && request.start.outpaint.is_some() {
            let value = format!("{width}x{height} with the picture");
            let expected = format!("at most {MAX_SIDE} pixels on each side");
            return Err(RequestError::range("start.outpaint", value, expected).into());
        }
        (request.width, request.height) = (width, height);
    }
    Ok(())
}

/// What is to be said of the embeddings that a picture was drawn with, where its prompts still name them.
pub(super) fn embeddings(
    drawn_with: &DrawnWith,
    resources: &dyn Resources,
    request: &Request,
) -> Result<Vec<String>> {
    let prompts = [request.prompt.as_str(), &request.negative_prompt];
    // The names are written without these.
    let plain = |text: &str| text.replace([',', ':'], "").to_lowercase();
    let prompts = prompts.map(plain);
    let entries = resources.models().embeddings.entries();
    let mut notes = Vec::new();
    for used in &drawn_with.embeddings {
        let name = used.name.to_lowercase();
        if !prompts.iter().any(|prompt| prompt.contains(&name)) {
            continue;
        }
        let told = format!(
            "the picture was drawn with the embedding {} (hash {})",
            used.name, used.hash
        );
        let found = entries.iter().find(|e| plain(&e.name) == name);
        match found {
            None => notes.push(format!(
                "{told}, which is not there: its name is drawn as words; --embeddings DIR says where it is"
            )),
            Some(entry) if entry.hash()? != used.hash => notes.push(format!(
                "{told}, and {} is another of that name: it will be another picture",
                entry.path.display()
            )),
            Some(_) => {}
        }
    }
    Ok(notes)
}

/// Whether a name stands for something.
type Finds = fn(&dyn Resources, &Name) -> bool;

/// Finds the networks that a picture was drawn with in the library, where the request does not say where they are or they are
/// no longer there; what is to be said of it.
pub(super) fn networks(
    drawn_with: &DrawnWith,
    typed: &Layer,
    resources: &dyn Resources,
    request: &mut Request,
) -> Vec<String> {
    let mut notes = Vec::new();
    let library = &resources.models().library;
    let built_in = resources.models().built_in.map(|model| model.name);
    let gone = |name: &Option<Name>, found: Finds| match name {
        Some(name) => !found(resources, name),
        None => drawn_with.nameless,
    };
    let own = built_in.is_some() && drawn_with.model.name.as_deref() == built_in;
    let model: Finds = |r, name| r.model(Some(name)).is_ok();
    if !typed.states("model")
        && !own
        && gone(&request.model, model)
        && let Some(found) = drawn_with.model.find(library)
    {
        notes.push(format!(
            "drawing with {found} of the library, as the picture was"
        ));
        request.model = Some(found);
    }
    let part: Finds = |r, name| r.part(name).is_ok();
    // What was used beside it: the flag, the request's name and what finds it, and how a picture that was drawn so is spoken of.
    let beside = [
        (
            "vae",
            &drawn_with.vae,
            &mut request.vae,
            part,
            ["drawing with the autoencoder", "drawn with the autoencoder"],
        ),
        (
            "refiner",
            &drawn_with.refiner,
            &mut request.refiner,
            model,
            ["refining with", "finished by the refiner"],
        ),
    ];
    for (flag, named, name, finds, [doing, done]) in beside {
        if typed.states(flag) || !named.is_named() || !gone(name, finds) {
            continue;
        }
        match named.find(library) {
            Some(found) => {
                notes.push(format!("{doing} {found} of the library, as the picture was"));
                *name = Some(found);
            }
            None if name.is_none() => notes.push(format!(
                "the picture was {done} {}, which is not in a folder of models: give it with --{flag} FILE",
                named.describe()
            )),
            None => {}
        }
    }
    notes
}

/// Sets the autoencoder beside the model where the profile's program takes it, and says what holds. `whole`: the request states
/// everything already. `none` for an autoencoder asks for the model's own.
pub(super) fn autoencoder(
    resources: &dyn Resources,
    request: &mut Request,
    whole: bool,
) -> Option<String> {
    let none = Name::from("none");
    if request.vae.as_ref() == Some(&none) && resources.part(&none).is_err() {
        request.vae = None;
        return None;
    }
    let model = request.model.as_ref()?;
    if whole || request.vae.is_some() {
        return None;
    }
    let mut files = AUTOENCODER.iter();
    let beside = files.find_map(|ending| resources.beside(model, ending))?;
    if request.compat != Compat::A1111 {
        return Some(format!(
            "{beside} beside the model is not used, as {} does not look for it: give it with --vae",
            request.compat
        ));
    }
    let note = format!(
        "drawing with the autoencoder {beside} beside the model, as A1111 does; --vae none draws with the model's own"
    );
    request.vae = Some(beside);
    Some(note)
}

/// Whether the built-in model, which is drawn with where no other is given, is the one that a picture names.
pub(super) fn check_named(drawn_with: &DrawnWith, resources: &dyn Resources) -> Result<()> {
    let models = resources.models();
    let own = models.built_in.map(|model| model.name);
    let named = &drawn_with.model;
    let is_own = named.name.is_some() && named.name.as_deref() == own;
    match drawn_with.nameless && named.is_named() && !is_own {
        true => Err(Error::OtherModel {
            model: named.describe(),
            hint: match models.library.entries().is_empty() {
                true => ", or the folder that it is in with --models DIR",
                false => "; the folders of models have none of that name or hash",
            },
        }),
        false => Ok(()),
    }
}

/// Where nothing says a size, a guidance or steps, those that a model was trained here for. A given picture keeps its size.
pub(super) fn defaults(
    said: Said,
    model: &Model,
    resources: &dyn Resources,
    request: &mut Request,
) -> Result<()> {
    let own = model.defaults(request, resources)?;
    if !said.size && request.start.image.is_none() {
        (request.width, request.height) = (own.size.width, own.size.height);
    }
    if request.model.is_none() {
        in_two_passes(own.size, request);
    }
    if let Some(guidance) = own.guidance.filter(|_| !said.guidance) {
        request.guidance.scale = guidance;
    }
    if let Some(steps) = own.steps.filter(|_| !said.steps) {
        request.steps = steps;
    }
    Ok(request.validate()?)
}

/// The built-in model knows pictures of its own size: larger ones are drawn at about that and enlarged in a second pass.
fn in_two_passes(own: Size, request: &mut Request) {
    let Size { width, height } = request.canvas();
    let factor = (width as f64 / own.width as f64).max(height as f64 / own.height as f64);
    if factor < 1.5 || request.hires.is_some() || request.start.image.is_some() {
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
