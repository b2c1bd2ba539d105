//! Whole pipelines of the tiny model against diffusers: latents and pictures of six samplers, img2img and both kinds of
//! inpainting (`tools/reference/`, golden `pipelines`).

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use burn::tensor::{Tensor, TensorData};
use latent_models::unet::{Alter, Extras, MIDDLE};
use latent_models::{Given, Input};
use latent_pipeline::draw::Canvas;
use latent_pipeline::request::{
    FreeUFactors, GivenPicture, GuidanceOptions, PerturbedAttention, SelfAttention, SkipLayers,
};
use latent_pipeline::{Model, Request};
use latent_testkit::{Golden, closeness, max_abs_difference, recipe};

use common::{scheduler, tiny};
use drawing::given;

/// Per value of a picture in 0..1.
const TOLERANCE: f64 = 2e-3;

fn request(sampler: &str, scheduler: &str) -> Request {
    Request {
        scheduler: scheduler.into(),
        ..golden::request(sampler)
    }
}

/// The latent and the picture in 0..1.
fn draw(
    model: &Model,
    request: &Request,
    size: [usize; 2],
    canvas: Option<&Canvas>,
) -> (Vec<f32>, Vec<f32>) {
    let request = Request {
        width: 8 * size[1],
        height: 8 * size[0],
        ..request.clone()
    };
    let drawn = drawing::draw(model, &request, canvas);
    (drawn.latent, drawn.picture)
}

fn assert_near(name: &str, got: &[f32]) {
    let golden = Golden::pipelines();
    let difference = max_abs_difference(got, golden.values(name));
    println!("{name}: {difference:.2e}");
    assert!(
        difference <= TOLERANCE,
        "{name}: {difference:e} > {TOLERANCE:e}"
    );
}

fn txt2img(name: &str, sampler: &str, ladder: &str) {
    let model = tiny(4, scheduler());
    let (latent, picture) = draw(&model, &request(sampler, ladder), [8, 12], None);
    assert_near(&format!("txt2img/{name}/pt"), &picture);
    // The final latent is about ten times as large as the picture's range.
    let golden = Golden::pipelines();
    let difference = max_abs_difference(&latent, golden.values(&format!("txt2img/{name}/latent")));
    assert!(
        difference <= 10.0 * TOLERANCE,
        "latent of {name}: {difference:e}"
    );
}

#[test]
fn plms() {
    txt2img("plms", "PNDM", "Automatic");
}

#[test]
fn ddim() {
    txt2img("ddim", "DDIM", "Automatic");
}

#[test]
fn euler() {
    txt2img("euler", "Euler", "Automatic");
}

#[test]
fn euler_a() {
    txt2img("euler_a", "Euler a", "Automatic");
}

#[test]
fn dpmpp_2m_karras() {
    txt2img("dpmpp_2m_karras", "DPM++ 2M Karras", "Automatic");
}

#[test]
fn unipc() {
    txt2img("unipc", "UniPC", "Automatic");
}

#[test]
fn img2img() {
    let model = tiny(4, scheduler());
    let request = Request {
        start: GivenPicture {
            strength: 0.6,
            ..request("DDIM", "Automatic").start
        },
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(false)));
    assert_near("img2img/ddim/pt", &picture);
}

#[test]
fn inpainting_with_an_ordinary_model() {
    let model = tiny(4, scheduler());
    let request = Request {
        start: GivenPicture {
            strength: 1.0,
            ..request("DDIM", "Automatic").start
        },
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(true)));
    assert_near("inpaint4/ddim/pt", &picture);
}

#[test]
fn inpainting_with_an_inpainting_model() {
    let model = tiny(9, scheduler());
    let request = Request {
        start: GivenPicture {
            strength: 1.0,
            ..request("DDIM", "Automatic").start
        },
        ..request("DDIM", "Automatic")
    };
    let (_, picture) = draw(&model, &request, [8, 8], Some(&given(true)));
    assert_near("inpaint9/ddim/pt", &picture);
}

fn guided(guidance: GuidanceOptions) -> Request {
    Request {
        guidance: GuidanceOptions {
            scale: request("DDIM", "Automatic").guidance.scale,
            ..guidance
        },
        ..request("DDIM", "Automatic")
    }
}

fn pag(layers: &str) -> PerturbedAttention {
    PerturbedAttention {
        layers: layers.parse().expect("layers"),
        ..PerturbedAttention::default()
    }
}

/// Perturbed-attention and self-attention guidance, at 256×256 so that the network's middle is of 4×4.
#[test]
fn guidance_by_attention() {
    let golden = Golden::adapters_guidance();
    let model = tiny(4, scheduler());
    let perturbed = GuidanceOptions {
        pag: Some(pag("mid")),
        ..GuidanceOptions::default()
    };
    let watched = GuidanceOptions {
        sag: Some(SelfAttention::default()),
        ..GuidanceOptions::default()
    };
    for (name, guidance) in [("pag_3/latent", perturbed), ("sag_0.75/latent", watched)] {
        let (latent, _) = draw(&model, &guided(guidance), [32, 32], None);
        let difference = closeness(&latent, golden.values(name));
        println!("{name}: {difference:.2e}");
        assert!(difference < 1e-4, "{name}: {difference:e}");
    }
}

/// FreeU with diffusers' factors, where the request leaves them open and where it states them.
#[test]
fn freeu() {
    let golden = Golden::adapters_guidance();
    let model = tiny(4, scheduler());
    let asks = |freeu| {
        guided(GuidanceOptions {
            freeu: Some(freeu),
            ..GuidanceOptions::default()
        })
    };
    let stated = FreeUFactors {
        b: Some([1.5, 1.6]),
        s: Some([0.9, 0.2]),
    };
    for factors in [FreeUFactors::default(), stated] {
        let (latent, _) = draw(&model, &asks(factors), [8, 8], None);
        let difference = closeness(&latent, golden.values("freeu/latent"));
        println!("freeu/latent: {difference:.2e}");
        assert!(difference < 1e-4, "{difference:e}");
    }
    let other = FreeUFactors {
        b: Some([1.0, 1.0]),
        s: Some([1.0, 1.0]),
    };
    let (nothing, _) = draw(&model, &asks(other), [8, 8], None);
    let (plain, _) = draw(&model, &guided(GuidanceOptions::default()), [8, 8], None);
    assert!(closeness(&nothing, &plain) < 1e-6);
}

/// One call of the network with its middle's self-attention replaced.
#[test]
fn perturbed_attention_of_the_network() {
    let model = tiny(4, scheduler());
    let tensor = |name: &str, shape: [usize; 4]| {
        let data = TensorData::new(recipe::normal(name, &shape), shape);
        Tensor::<4>::from_data(data, &model.device)
    };
    let given = Given {
        context: Some(tensor("probe/context", [1, 1, 77, 48]).reshape([1, 77, 48])),
        ..Given::default()
    };
    let unet = model.denoiser().expect("it is in memory");
    let given = unet.prepare(given).expect("what it takes");
    let call = |alter: &Alter| {
        let input = Input {
            x: tensor("probe/x", [1, 4, 8, 8]),
            t: Tensor::from_floats([501.0f32], &model.device),
            given: &given,
            alter,
            watch: false,
            states: None,
            extras: Extras::default(),
        };
        let output = unet.run(input).x.into_data();
        output.iter::<f32>().collect::<Vec<f32>>()
    };
    let golden = Golden::adapters_guidance();
    let golden = golden.values("pag_mid/unet");
    let difference = closeness(&call(&Alter::Identity(vec![MIDDLE])), golden);
    assert!(difference < 1e-4, "{difference:e}");
    // The middle sees one pixel, so that self-attention is the identity there; elsewhere it is not.
    let everywhere = ["down", "mid", "up"].map(|spot| spot.parse().expect("a spot"));
    let difference = closeness(&call(&Alter::Identity(everywhere.to_vec())), golden);
    assert!(difference > 1e-3, "{difference:e}");
}

#[test]
fn skipped_layers_and_perpendicular_negatives() {
    let model = tiny(4, scheduler());
    let draw = |request: &Request| draw(&model, request, [8, 8], None).0;
    let plain = draw(&guided(GuidanceOptions::default()));
    let skip = |layers: &str, scale, end| {
        draw(&guided(GuidanceOptions {
            skip_layers: Some(SkipLayers {
                scale,
                layers: layers.parse().expect("layers"),
                start: 0.01,
                end,
            }),
            ..GuidanceOptions::default()
        }))
    };
    assert_eq!(skip("mid", 2.8, 0.1), plain, "no call is within");
    for layers in ["mid", "down.0", "up.1.0,down.2"] {
        let near = closeness(&skip(layers, 0.0, 1.0), &plain);
        assert!(near < 1e-6, "{layers}: {near:e}");
        let far = closeness(&skip(layers, 2.8, 1.0), &plain);
        assert!(far > 1e-3, "{layers}: {far:e}");
    }

    let perp = |weight, negative: &str| {
        draw(&Request {
            negative_prompt: negative.into(),
            ..guided(GuidanceOptions {
                perp_neg: Some(weight),
                ..GuidanceOptions::default()
            })
        })
    };
    let unopposed = draw(&Request {
        negative_prompt: String::new(),
        ..request("DDIM", "Automatic")
    });
    let near = |got: &[f32]| closeness(got, &unopposed);
    let same = near(&perp(3.0, &request("DDIM", "Automatic").prompt));
    assert!(same < 1e-4, "nothing is perpendicular to itself: {same:e}");
    let none = near(&perp(0.0, "blurry"));
    assert!(none < 1e-4, "{none:e}");
    let far = near(&perp(1.0, "blurry"));
    assert!(far > 1e-3, "{far:e}");
}
