//! What requests say of pictures that a drawing is held to.

use latent_pipeline::Request;
use latent_pipeline::beside::Hints;
use latent_pipeline::preprocess::Preprocess;
use latent_pipeline::request::{
    Compat, Control, ControlMode, GivenPicture, GuidanceOptions, Hires, Size,
};

use super::{asks, control, drawing, drawn, drawn_with, held, latent, model, picture};

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

/// What is made of a picture in the request is what is made of it before, in both passes, and pictures say so.
#[test]
fn preprocessed_in_the_request() {
    let model = model(&["controlnet"]);
    let canny: Preprocess = "canny:low=20:high=60".parse().unwrap();
    let asked = |preprocess, [image, second]: [&str; 2]| Request {
        compat: Compat::A1111,
        hires: Some(Hires::default()),
        ..asks(vec![Control {
            image: Some(image.into()),
            hires_image: Some(second.into()),
            preprocess,
            ..control()
        }])
    };
    let whole = ["picture.png", "mirrored.png"];
    let inline = drawn(&model, &asked(Some(canny.clone()), whole));
    let edges = [false, true].map(|mirrored| canny.run(&picture(mirrored), None).unwrap());
    let before = asked(None, ["edges.png", "mirrored-edges.png"]);
    let files = [("edges.png", &edges[0]), ("mirrored-edges.png", &edges[1])];
    let before = drawn_with(&model, &before, &files);
    assert_eq!(latent(&inline), latent(&before));
    assert_ne!(latent(&inline), latent(&drawn(&model, &asked(None, whole))));
    let module = "Module: canny, Model: controlnet, Weight: 1, Resize Mode: Crop and Resize, Threshold A: 20, Threshold B: 60, ";
    assert!(inline.infotext.contains(module), "{}", inline.infotext);
    let again: Request =
        serde_json::from_value(serde_json::to_value(&inline.request).unwrap()).unwrap();
    assert_eq!(again.control[0].preprocess, Some(canny));
}

/// What cannot be made is refused before anything is read.
#[test]
fn preprocessors_are_checked_with_the_request() {
    let refused = |text: &str| {
        let preprocess = Some(text.parse().unwrap());
        let request = asks(vec![Control {
            preprocess,
            ..control()
        }]);
        request.validate().expect_err(text).to_string()
    };
    let range = refused("canny:low=-1");
    assert!(range.contains("`control.preprocess.low` is -1"), "{range}");
    let other = refused("blur:low=3");
    assert!(other.contains("only with canny"), "{other}");
    let weights = refused("softedge");
    assert!(
        weights.contains("`control.preprocess.weights`"),
        "{weights}"
    );
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
