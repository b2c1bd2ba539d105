//! Decoding in strips, and edges that meet.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_diffusion::{NoiseStreams, PictureSeed};
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::draw::{Drawing, Start};
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::request::{ComputeOptions, Switch, Tiling};
use latent_pipeline::{Decoding, Model, Profile, Quiet, Request, Resolved};
use latent_text::Pass;

use super::{model, one, request};

#[test]
fn strips_are_the_same_picture() {
    let model = model();
    for tiling in [Tiling::None, Tiling::X, Tiling::Y, Tiling::Both] {
        let decode = |vae_tiling| {
            let request = Request {
                width: 64,
                height: 600,
                steps: 1,
                tiling,
                compute: ComputeOptions {
                    vae_tiling,
                    ..request().compute
                },
                ..request()
            };
            one(&model, &request)
        };
        let (whole, strips) = (decode(Switch::Off), decode(Switch::On));
        let pairs = whole.picture.rgb().iter().zip(strips.picture.rgb());
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{tiling}: {worst:?}");
    }
}

fn roll(x: Tensor<4>, by: usize, axis: usize) -> Tensor<4> {
    let length = x.dims()[axis];
    let (head, tail) = (
        x.clone().narrow(axis, 0, length - by),
        x.narrow(axis, length - by, by),
    );
    Tensor::cat(vec![tail, head], axis)
}

fn relative(a: Tensor<4>, b: Tensor<4>) -> f64 {
    let list = |t: Tensor<4>| t.into_data().iter::<f32>().collect::<Vec<_>>();
    latent_testkit::closeness(&list(a), &list(b))
}

/// Rolling the start rolls the picture where its edges meet, and does not where they do not.
#[test]
fn edges_meet() {
    let model = model();
    // The U-Net halves the latent three times: it can be rolled by eight.
    let shape = [4, 16, 16];
    for (tiling, axes) in [
        (Tiling::Both, [true, true]),
        (Tiling::X, [false, true]),
        (Tiling::Y, [true, false]),
        (Tiling::None, [false, false]),
    ] {
        let request = Request {
            tiling,
            ..request()
        };
        for (axis, meets) in [2, 3].into_iter().zip(axes) {
            let (plain, rolled) = (
                from_noise(&model, &request, shape, None),
                from_noise(&model, &request, shape, Some(axis)),
            );
            let latents = relative(roll(plain.0, 8, axis), rolled.0);
            let pixels = relative(roll(plain.1, 64, axis), rolled.1);
            assert_eq!(latents < 1e-3, meets, "{tiling} axis {axis}: {latents}");
            assert_eq!(pixels < 1e-3, meets, "{tiling} axis {axis}: {pixels}");
        }
    }
}

/// The latent and the pixels of a pass whose starting point is rolled by 8 along an axis.
fn from_noise(
    model: &Model,
    request: &Request,
    shape: [usize; 3],
    axis: Option<usize>,
) -> (Tensor<4>, Tensor<4>) {
    let profile = Profile::of(request.compat);
    let (names, _) = Resolved::of_passes(request, &model.scheduler, &profile).expect("names");
    let drawing = Drawing {
        strength: 1.0,
        ..Drawing::of(request, model, &profile, names)
    };
    let prompts = Prompts::encode(
        model,
        &profile,
        request,
        ["an apple", ""],
        request.canvas(),
        Pass::Only(request.steps),
        &Embeddings::default(),
    )
    .expect("prompts");
    let seeds = [PictureSeed::from(5)];
    // A pass adds noise to the latent it is given: the latent takes the plain noise out and the rolled in.
    let sigma = drawing.ladder(true).expect("a ladder").sigmas.values()[0];
    let noise = NoiseStreams::new(profile.noise, &seeds)
        .expect("a seed")
        .initial(shape, &model.device);
    let latent = match axis {
        Some(axis) => (roll(noise.clone(), 8, axis) - noise) * sigma,
        None => noise.zeros_like(),
    };
    let start = Start {
        size: [shape[1], shape[2]],
        canvas: None,
        latent: Some(latent),
        hints: None,
    };
    let prepared = drawing.prepare(&start, &seeds).expect("a start");
    let drawn = drawing
        .draw(prepared, (&prompts, None), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("a drawing");
    let pixels = Decoding::Whole
        .pixels(model, request, drawn.latent.clone(), &mut Quiet)
        .expect("pixels");
    (drawn.latent, pixels)
}
