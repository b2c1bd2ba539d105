//! Starting from pictures, masks, odd sizes, second passes.

use latent_pipeline::request::{
    Choice, Compat, GivenPicture, Hires, InpaintFill, Outpaint, ResizeMode, Size, Tiling, Upscaler,
};
use latent_pipeline::resources::{Disk, Resources};
use latent_pipeline::{Output, Request};

use super::{Files, PROFILES, common, differ, draw, model, one, request, values};

fn size(output: &Output) -> (usize, usize) {
    (output.picture.width(), output.picture.height())
}

/// Mean absolute difference of two pictures of one size, in levels.
fn distance(a: &Output, b: &latent_pipeline::picture::Picture) -> f64 {
    let (a, b) = (a.picture.rgb(), b.rgb());
    assert_eq!(a.len(), b.len());
    let sum: u64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.len() as f64
}

#[test]
fn sizes() {
    let model = model();
    for (width, height, latent) in [
        (70, 50, [7, 9]),
        (72, 88, [11, 9]),
        (64, 8, [1, 8]),
        (8, 8, [1, 1]),
        (96, 136, [17, 12]),
    ] {
        for tiling in [Tiling::None, Tiling::Both] {
            let output = one(
                &model,
                &Request {
                    width,
                    height,
                    tiling,
                    ..request()
                },
            );
            assert_eq!(size(&output), (width, height));
            assert_eq!(output.latent.dims()[2..], latent);
        }
    }
    // what is cut off is the border of the picture at the next multiple of 8
    let cut = one(
        &model,
        &Request {
            width: 70,
            height: 50,
            ..request()
        },
    );
    let whole = one(
        &model,
        &Request {
            width: 72,
            height: 56,
            ..request()
        },
    );
    assert_eq!(cut.picture.pixel(0, 0), whole.picture.pixel(1, 3));
    assert_eq!(cut.picture.pixel(69, 49), whole.picture.pixel(70, 52));
}

#[test]
fn img2img() {
    let (model, files) = (model(), Files::new());
    let picture = files.picture(64, 64);
    for compat in PROFILES {
        let with = |strength, sampler: &str| Request {
            steps: 8,
            sampler: sampler.into(),
            compat,
            batch_size: 2,
            start: GivenPicture {
                image: Some(picture.clone()),
                strength,
                ..request().start
            },
            ..request()
        };
        for sampler in ["Euler a", "DDIM", "UniPC", "DPM++ 2M SDE", "LCM"] {
            let weak = draw(&model, &with(0.3, sampler));
            let strong = draw(&model, &with(0.9, sampler));
            let case = format!("{compat} {sampler}");
            assert!(differ(&weak[0], &weak[1]), "{case}: two seeds");
            assert!(differ(&weak[0], &strong[0]), "{case}: strength");
            let again = one(&model, &weak[1].request);
            assert!(!differ(&again, &weak[1]), "{case}: again");
        }
        let whole = draw(&model, &with(1.0, "Euler"));
        assert_eq!(size(&whole[0]), (64, 64));
    }
    // any size of picture, any way of fitting it
    let picture = files.picture(100, 40);
    let mut seen: Vec<Output> = Vec::new();
    for resize_mode in [ResizeMode::Stretch, ResizeMode::Crop, ResizeMode::Fill] {
        let output = one(
            &model,
            &Request {
                width: 70,
                height: 50,
                start: GivenPicture {
                    image: Some(picture.clone()),
                    resize_mode,
                    ..request().start
                },
                ..request()
            },
        );
        assert_eq!(size(&output), (70, 50));
        assert!(seen.iter().all(|s| differ(s, &output)), "{resize_mode}");
        seen.push(output);
    }
}

#[test]
fn masks() {
    let files = Files::new();
    let (picture, mask) = (files.picture(64, 64), files.mask(64, 64, 8, 40));
    let original = Disk::default().picture(&picture).expect("a picture");
    for channels in [4, 9] {
        let model = common::tiny(channels, common::scheduler());
        for compat in PROFILES {
            for sampler in ["Euler", "DDIM", "UniPC", "DPM++ SDE"] {
                let with = |mask_invert| Request {
                    sampler: sampler.into(),
                    steps: 6,
                    compat,
                    start: GivenPicture {
                        image: Some(picture.clone()),
                        mask: Some(mask.clone()),
                        mask_invert,
                        ..request().start
                    },
                    ..request()
                };
                let case = format!("{channels} channels, {compat}, {sampler}");
                let inside = one(&model, &with(false));
                let outside = one(&model, &with(true));
                assert!(values(&inside).iter().all(|v| v.is_finite()), "{case}");
                assert!(differ(&inside, &outside), "{case}");
                if compat == Compat::A1111 {
                    // far from the mask the original's pixels are laid over the result
                    assert_eq!(inside.picture.pixel(62, 2), original.pixel(62, 2), "{case}");
                    assert_ne!(
                        inside.picture.pixel(24, 32),
                        original.pixel(24, 32),
                        "{case}"
                    );
                }
            }
        }
    }
}

/// The latent outside a mask is the picture's own, but for an inpainting network of diffusers.
#[test]
fn the_outside_stays() {
    let (model, files) = (model(), Files::new());
    let (picture, mask) = (files.picture(64, 64), files.mask(64, 64, 32, 64));
    for compat in PROFILES {
        let with = |seed| Request {
            compat,
            seed: Some(seed),
            start: GivenPicture {
                image: Some(picture.clone()),
                mask: Some(mask.clone()),
                mask_blur: 0,
                ..request().start
            },
            ..request()
        };
        let (a, b) = (one(&model, &with(1)), one(&model, &with(2)));
        let (left, right) = (|v: &[f32]| v[8 * 4 + 1], |v: &[f32]| v[8 * 4 + 6]);
        let (a, b) = (values(&a), values(&b));
        if compat != Compat::Diffusers {
            // diffusers draws the picture's latent, each seed its own
            assert!((left(&a) - left(&b)).abs() < 1e-4, "{compat}");
        }
        assert!((right(&a) - right(&b)).abs() > 1e-3, "{compat}");
    }
}

#[test]
fn what_lies_under_the_mask() {
    let (model, files) = (model(), Files::new());
    let (picture, mask) = (files.picture(64, 64), files.mask(64, 64, 8, 40));
    let mut seen: Vec<Output> = Vec::new();
    for (name, inpaint_fill) in InpaintFill::NAMES {
        let output = one(
            &model,
            &Request {
                steps: 6,
                start: GivenPicture {
                    image: Some(picture.clone()),
                    mask: Some(mask.clone()),
                    fill: *inpaint_fill,
                    strength: 0.5,
                    ..request().start
                },
                ..request()
            },
        );
        assert!(seen.iter().all(|s| differ(s, &output)), "{name}");
        seen.push(output);
    }
}

#[test]
fn only_the_masked_region() {
    let (model, files) = (model(), Files::new());
    let (picture, mask) = (files.picture(120, 90), files.mask(120, 90, 10, 40));
    let original = Disk::default().picture(&picture).expect("a picture");
    for compat in PROFILES {
        for (width, height) in [(64, 64), (70, 50)] {
            let output = one(
                &model,
                &Request {
                    width,
                    height,
                    compat,
                    start: GivenPicture {
                        image: Some(picture.clone()),
                        mask: Some(mask.clone()),
                        only_masked: true,
                        padding: 4,
                        mask_blur: 2,
                        ..request().start
                    },
                    ..request()
                },
            );
            assert_eq!(size(&output), (120, 90), "{compat}");
            assert_eq!(
                output.picture.pixel(110, 5),
                original.pixel(110, 5),
                "{compat}"
            );
            assert!(distance(&output, &original) > 0.5, "{compat}");
        }
    }
}

#[test]
fn outpainting() {
    let files = Files::new();
    let picture = files.picture(64, 64);
    for channels in [4, 9] {
        let model = common::tiny(channels, common::scheduler());
        for compat in PROFILES {
            let output = one(
                &model,
                &Request {
                    width: 80,
                    height: 88,
                    compat,
                    start: GivenPicture {
                        image: Some(picture.clone()),
                        outpaint: Some(Outpaint {
                            left: 16,
                            bottom: 24,
                            ..Outpaint::default()
                        }),
                        mask_blur: 2,
                        strength: 1.0,
                        ..request().start
                    },
                    ..request()
                },
            );
            assert_eq!(size(&output), (80, 88), "{compat}, {channels} channels");
        }
    }
}

#[test]
fn second_passes() {
    let model = model();
    let mut seen: Vec<Output> = Vec::new();
    for (name, upscaler) in Upscaler::NAMES {
        let output = one(
            &model,
            &Request {
                hires: Some(Hires {
                    scale: 1.5,
                    upscaler: *upscaler,
                    denoising_strength: 0.4,
                    ..Hires::default()
                }),
                ..request()
            },
        );
        assert_eq!(size(&output), (96, 96), "{name}");
        let known = seen.iter().position(|s| !differ(s, &output));
        // Two names of one way. Enlarging linearly needs no antialiasing, and a box that enlarges is the nearest pixel.
        let alias = matches!(
            *name,
            "Latent (bilinear)" | "Latent (antialiased)" | "None" | "Area"
        );
        assert_eq!(known.is_some(), alias, "{name}");
        if !alias {
            seen.push(output);
        }
    }
    for compat in PROFILES {
        for (width, height, hires, expected) in [
            (
                64,
                64,
                Hires {
                    width: Some(128),
                    height: Some(96),
                    ..Hires::default()
                },
                (128, 96),
            ),
            (
                70,
                50,
                Hires {
                    scale: 1.3,
                    ..Hires::default()
                },
                (91, 65),
            ),
            (
                64,
                48,
                Hires {
                    width: Some(100),
                    ..Hires::default()
                },
                (100, 75),
            ),
        ] {
            let hires = Hires {
                sampler: Some("DPM++ 2M".into()),
                scheduler: Some("Karras".into()),
                prompt: Some("a (green:1.2) pear".into()),
                steps: Some(2),
                ..hires
            };
            let base = Request {
                width,
                height,
                compat,
                hires: Some(hires),
                ..request()
            };
            assert_eq!(size(&one(&model, &base)), expected, "{compat}");
        }
    }
}

/// A second pass reads the inpainting network's blank mask too.
#[test]
fn text_alone_with_an_inpainting_network() {
    let model = common::tiny(9, common::scheduler());
    for compat in PROFILES {
        let base = Request {
            compat,
            ..request()
        };
        let hires = Request {
            hires: Some(Hires::default()),
            ..base.clone()
        };
        assert_eq!(size(&one(&model, &base)), (64, 64));
        assert_eq!(size(&one(&model, &hires)), (128, 128));
    }
}

#[test]
fn an_enlarged_first_pass_keeps_its_size() {
    let target = Hires {
        scale: 2.0,
        ..Hires::default()
    }
    .target(Size {
        width: 64,
        height: 40,
    });
    let output = one(
        &model(),
        &Request {
            height: 40,
            hires: Some(Hires::default()),
            ..request()
        },
    );
    assert_eq!(output.picture.size(), target.1);
}
