//! What requests say of pictures that a drawing is held to.

use latent_pipeline::Request;
use latent_pipeline::beside::Hints;
use latent_pipeline::request::{
    Compat, Control, ControlMode, GivenPicture, GuidanceOptions, Hires, Size,
};

use super::{asks, control, drawing, drawn, held, latent, model};

/// The picture of a request, in its place the one that is started from, and another in the second pass.
#[test]
fn pictures_of_requests() {
    let model = model(&["controlnet"]);
    let first = drawn(&model, &asks(vec![control()]));
    let mirrored = Control {
        image: Some("mirrored.png".into()),
        ..control()
    };
    let other = drawn(&model, &asks(vec![mirrored]));
    // Weights by a formula make little of pictures; what is not used at all changes no bit.
    assert_ne!(latent(&other), latent(&first));

    let started = |image| Request {
        start: GivenPicture {
            image: Some("mirrored.png".into()),
            ..GivenPicture::default()
        },
        ..asks(vec![Control { image, ..control() }])
    };
    let by_default = drawn(&model, &started(None));
    let named = drawn(&model, &started(Some("mirrored.png".into())));
    assert_eq!(latent(&by_default), latent(&named));

    let second = |hires_image| Request {
        compat: Compat::A1111,
        hires: Some(Hires::default()),
        ..asks(vec![Control {
            hires_image,
            ..control()
        }])
    };
    let same = drawn(&model, &second(None));
    let other = drawn(&model, &second(Some("mirrored.png".into())));
    assert_eq!(
        same.picture.size(),
        Size {
            width: 128,
            height: 128
        }
    );
    assert_ne!(latent(&other), latent(&same));
}

/// Without guidance there is no negative prompt, and a mode that leaves it out draws what falling factors draw.
#[test]
fn without_guidance_the_prompt_is_alone() {
    let model = model(&["controlnet"]);
    let ask = |mode| Request {
        guidance: GuidanceOptions {
            scale: 1.0,
            ..GuidanceOptions::default()
        },
        ..asks(vec![Control { mode, ..control() }])
    };
    let [prompt, control] =
        [ControlMode::Prompt, ControlMode::Control].map(|mode| latent(&drawn(&model, &ask(mode))));
    assert_eq!(prompt, control);
}

/// A batch is held to its picture as each of its pictures alone is.
#[test]
fn a_batch_is_held_as_one_is() {
    let model = model(&["controlnet"]);
    let ask = |seed, batch_size| Request {
        seed: Some(seed),
        batch_size,
        ..asks(vec![Control {
            mode: ControlMode::Guess,
            ..control()
        }])
    };
    let resources = |request: &Request| drawn(&model, request);
    let alone = resources(&ask(43, 1));
    let hints = Hints {
        held: vec![held(false)],
        ..Hints::default()
    };
    let both = drawing::draw_with(&model, &ask(42, 2), None, Some(&hints));
    let second = &both.latent[both.latent.len() / 2..];
    assert_eq!(second, latent(&alone), "bit for bit");
}
