//! What cannot be done is refused before work starts, in words that name the field.

use latent_pipeline::request::{Compat, GivenPicture, Hires, Outpaint};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Error, MemoryPlan, Quiet, Request, run};

use super::{Files, common, model, one, request};

fn refused(request: &Request) -> String {
    let error = run(request, &model(), &Disk::default(), None, &mut Quiet);
    error.expect_err(&format!("{request:?}")).to_string()
}

#[test]
fn fields() {
    let files = Files::new();
    let picture = files.picture(64, 64);
    let black = files.mask(64, 64, 0, 0);
    let with_picture = || Request {
        start: GivenPicture {
            image: Some(picture.clone()),
            ..request().start
        },
        ..request()
    };
    type Words = &'static [&'static str];
    let cases: Vec<(Request, Words)> = vec![
        (
            Request {
                seed: None,
                ..request()
            },
            &["seed"],
        ),
        (
            Request {
                subseed_strength: 0.5,
                ..request()
            },
            &["subseed"],
        ),
        (
            Request {
                sampler: "Euler b".into(),
                ..request()
            },
            &["Euler b", "Euler a"],
        ),
        (
            Request {
                scheduler: "Karass".into(),
                ..request()
            },
            &["Karass", "karras"],
        ),
        (
            Request {
                steps: 0,
                ..request()
            },
            &["steps"],
        ),
        (
            Request {
                steps: 1,
                sampler: "DPM++ 2M".into(),
                scheduler: "DDIM".into(),
                hires: Some(Hires {
                    denoising_strength: 0.0,
                    ..Hires::default()
                }),
                ..request()
            },
            &["strength"],
        ),
        (
            Request {
                steps: 1000,
                sampler: "LCM".into(),
                compat: Compat::Diffusers,
                ..request()
            },
            &["steps", "50"],
        ),
        (
            Request {
                compat: Compat::Diffusers,
                start: GivenPicture {
                    strength: 0.0,
                    ..with_picture().start
                },
                ..with_picture()
            },
            &["strength"],
        ),
        (
            Request {
                compat: Compat::ComfyUi,
                start: GivenPicture {
                    strength: 0.0,
                    ..with_picture().start
                },
                ..with_picture()
            },
            &["strength"],
        ),
        (
            Request {
                start: GivenPicture {
                    mask: Some(black.clone()),
                    ..with_picture().start
                },
                ..with_picture()
            },
            &["mask", "white"],
        ),
        (
            Request {
                start: GivenPicture {
                    image: Some("/nowhere/a.png".into()),
                    ..request().start
                },
                ..request()
            },
            &["/nowhere/a.png"],
        ),
        (
            Request {
                start: GivenPicture {
                    mask: Some("/nowhere/m.png".into()),
                    ..with_picture().start
                },
                ..with_picture()
            },
            &["/nowhere/m.png"],
        ),
        (
            Request {
                hires: Some(Hires {
                    sampler: Some("nope".into()),
                    ..Hires::default()
                }),
                ..request()
            },
            &["nope"],
        ),
        (
            Request {
                hires: Some(Hires {
                    denoising_strength: 0.0,
                    ..Hires::default()
                }),
                ..request()
            },
            &["strength"],
        ),
        (
            Request {
                sigmas: Some(vec![1e6, 1e-9, 0.0]),
                ..request()
            },
            &["1e-9"],
        ),
    ];
    for (request, words) in cases {
        let error = refused(&request);
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

/// A1111 walks the last step even at strength 0; with samplers on time steps there is none.
#[test]
fn strength_zero() {
    let (model, files) = (model(), Files::new());
    let with = |sampler: &str| Request {
        sampler: sampler.into(),
        start: GivenPicture {
            image: Some(files.picture(64, 64)),
            strength: 0.0,
            ..request().start
        },
        ..request()
    };
    one(&model, &with("Euler"));
    for sampler in ["DDIM", "UniPC", "PLMS"] {
        let error =
            run(&with(sampler), &model, &Disk::default(), None, &mut Quiet).expect_err(sampler);
        assert!(error.to_string().contains("strength"), "{sampler}: {error}");
    }
}

#[test]
fn memory() {
    let model = model();
    let request = Request {
        width: 256,
        height: 256,
        ..request()
    };
    let plan = MemoryPlan::of(&request, &model);
    let error = run(
        &request,
        &model,
        &Disk::default(),
        Some(1 << 10),
        &mut Quiet,
    )
    .expect_err("a kilobyte");
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    // between the two ways of decoding, strips are chosen and the picture is the same
    let free = plan.sampling.max(plan.decoding_in_strips);
    assert!(free < plan.decoding.max(plan.sampling), "{plan}");
    let tight = run(&request, &model, &Disk::default(), Some(free), &mut Quiet).expect("in strips");
    let ample = run(&request, &model, &Disk::default(), None, &mut Quiet).expect("whole");
    let pairs = tight[0].picture.rgb().iter().zip(ample[0].picture.rgb());
    assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max() <= Some(1));
    // a larger batch needs more
    let batch = Request {
        batch_size: 64,
        ..request.clone()
    };
    assert!(MemoryPlan::of(&batch, &model).sampling > plan.sampling);
    run(&batch, &model, &Disk::default(), Some(free), &mut Quiet).expect_err("64 pictures at once");
}

/// A network of neither four nor nine channels is no model of this family's tasks.
#[test]
fn channels() {
    let error = common::try_tiny(7, common::scheduler()).expect_err("7 channels");
    assert!(error.contains("7 channels in the place of 4"), "{error}");
    assert!(error.contains("nearest is Stable Diffusion 1.x"), "{error}");
}

/// Where a sampler cannot walk so few steps, the error names the steps and how many it can: in every combination.
#[test]
fn few_steps() {
    let model = model();
    for sampler in latent_diffusion::Sampler::ALL {
        for compat in super::PROFILES {
            for steps in 1..=3 {
                let request = Request {
                    sampler: latent_diffusion::names::sampler_info(sampler).label.into(),
                    steps,
                    width: 32,
                    height: 32,
                    compat,
                    ..request()
                };
                let Err(error) = run(&request, &model, &Disk::default(), None, &mut Quiet) else {
                    continue;
                };
                let text = error.to_string();
                let case = format!("{compat} {} {steps}: {text}", request.sampler);
                assert!(
                    text.starts_with(&format!("`steps` is {steps}: expected ")),
                    "{case}"
                );
                let enough = text
                    .split(' ')
                    .filter_map(|word| word.parse().ok())
                    .find(|n| *n > steps);
                let steps = enough.expect(&case);
                one(&model, &Request { steps, ..request });
            }
        }
    }
}

#[test]
fn outpainting_needs_room() {
    let files = Files::new();
    let request = Request {
        start: GivenPicture {
            image: Some(files.picture(64, 64)),
            outpaint: Some(Outpaint {
                left: 16_384,
                right: 16_384,
                ..Outpaint::default()
            }),
            ..request().start
        },
        ..request()
    };
    // 64 rows of 32,832 pixels are possible: what is drawn is the canvas of the request
    assert_eq!(one(&model(), &request).picture.size().width, 64);
}
