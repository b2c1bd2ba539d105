//! Pictures that a model looks at: what is given shows, each picture is its own, what does not fit is refused.

use std::path::PathBuf;

use burn::tensor::{DType, Device};
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_pipeline::effect::without_effect;
use latent_pipeline::request::{Compat, Conditions, GivenPicture, ImagePrompt, Name, Outpaint};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Error, Model, ModelFiles, Quiet, Request, run};

use super::common::{family, weights};
use super::{Files, PROFILES, draw, one};

fn model() -> Model {
    family(TinyFamily::Sd2UnClip, TinyFamily::Sd2UnClip.scheduler())
}

fn open(path: PathBuf) -> Result<Model, Error> {
    let quiet = &mut |_: &'static str, _, _| {};
    Model::open(&ModelFiles::from(path), &Device::flex(), DType::F32, quiet).map(|(model, _)| model)
}

fn request(compat: Compat, images: &[&Name]) -> Request {
    Request {
        prompt: "a red apple on a table".into(),
        negative_prompt: "blurry".into(),
        steps: 3,
        sampler: "Euler a".into(),
        width: 64,
        height: 64,
        seed: Some(7),
        compat,
        condition: Conditions {
            images: images.iter().map(|&name| name.clone().into()).collect(),
            ..Conditions::default()
        },
        ..Request::default()
    }
}

fn bytes(model: &Model, request: &Request) -> Vec<u8> {
    one(model, request).picture.rgb().to_vec()
}

#[test]
fn what_is_given_shows_in_every_profile() {
    let (model, files) = (model(), Files::new());
    let (wide, tall) = (files.named("a.png", 60, 40), files.named("b.png", 30, 50));
    for compat in PROFILES {
        let plain = request(compat, &[]);
        let one = request(compat, &[&wide]);
        let changed = |change: &dyn Fn(&mut Request)| {
            let mut changed = one.clone();
            change(&mut changed);
            changed
        };
        let all = [
            plain.clone(),
            one.clone(),
            request(compat, &[&tall]),
            request(compat, &[&wide, &tall]),
            changed(&|r| r.condition.images[0].strength = 0.3),
            changed(&|r| r.condition.noise_level = Some(400)),
            changed(&|r| r.prompt.clear()),
            changed(&|r| r.guidance.scale = 1.0),
        ];
        let drawn: Vec<_> = all.iter().map(|request| bytes(&model, request)).collect();
        for (i, one) in drawn.iter().enumerate() {
            assert!(!drawn[..i].contains(one), "{compat}: {:?}", all[i]);
        }
        let levels =
            without_effect(&changed(&|r| r.condition.noise_level = Some(400)), &model).unwrap();
        assert!(
            levels
                .iter()
                .all(|idle| idle.field != "condition.noise_level")
        );
        // A picture of no strength is no picture, but for the noise that diffusers draws for it first.
        let nothing = changed(&|r| r.condition.images[0].strength = 0.0);
        let same = bytes(&model, &nothing) == drawn[0];
        assert_eq!(same, compat != Compat::Diffusers, "{compat}");
        // Without one a level changes nothing.
        let level = Request {
            condition: Conditions {
                noise_level: Some(400),
                ..plain.condition
            },
            ..plain
        };
        assert_eq!(bytes(&model, &level), drawn[0], "{compat}");
        let idle = without_effect(&level, &model).unwrap();
        assert!(
            idle.iter()
                .any(|idle| idle.field == "condition.noise_level"),
            "{compat}"
        );
    }
}

/// Each has the noise of its own seed, whatever is drawn beside it.
#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let (model, files) = (model(), Files::new());
    let (a, b) = (files.named("a.png", 60, 40), files.named("b.png", 30, 50));
    for compat in PROFILES {
        let one = Request {
            condition: Conditions {
                noise_level: Some(600),
                ..request(compat, &[&a, &b]).condition
            },
            ..request(compat, &[&a, &b])
        };
        let batch = Request {
            batch_size: 3,
            ..one.clone()
        };
        for (i, drawn) in draw(&model, &batch).into_iter().enumerate() {
            let alone = Request {
                seed: Some(7 + i as u64),
                ..one.clone()
            };
            assert_eq!(drawn.picture.rgb(), bytes(&model, &alone), "{compat} {i}");
        }
    }
}

/// A1111's unCLIP looks at the picture that it starts from.
#[test]
fn the_picture_to_start_from() {
    let (model, files) = (model(), Files::new());
    let (start, other) = (files.named("a.png", 64, 64), files.named("b.png", 30, 50));
    for compat in PROFILES {
        let from = |images: &[&Name]| Request {
            start: GivenPicture {
                image: Some(start.clone()),
                strength: 0.6,
                ..request(compat, images).start
            },
            ..request(compat, images)
        };
        let [alone, same, another] =
            [vec![], vec![&start], vec![&other]].map(|images| bytes(&model, &from(&images)));
        assert_eq!(alone == same, compat == Compat::A1111, "{compat}");
        assert!(another != alone && another != same, "{compat}");
        let outpainted = Request {
            start: GivenPicture {
                outpaint: Some(Outpaint {
                    right: 32,
                    ..Outpaint::default()
                }),
                ..from(&[&other]).start
            },
            ..from(&[&other])
        };
        assert_ne!(bytes(&model, &outpainted), another, "{compat}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (unclip, files) = (model(), Files::new());
    let picture = files.named("a.png", 40, 40);
    let plain = family(TinyFamily::Sd2, TinyFamily::Sd2.scheduler());
    let refused = |model: &Model, request: &Request| {
        let refused = run(request, model, &Disk::default(), None, &mut Quiet);
        refused.expect_err("refused").to_string()
    };
    let asked = request(Compat::A1111, &[&picture]);
    let error = refused(&plain, &asked);
    assert!(
        error.contains("images") && error.contains("no image encoder"),
        "{error}"
    );
    let level = Request {
        condition: Conditions {
            noise_level: Some(1000),
            ..asked.clone().condition
        },
        ..asked.clone()
    };
    let error = refused(&unclip, &level);
    assert!(
        error.contains("condition.noise_level") && error.contains("0 to 999"),
        "{error}"
    );
    let level = Request {
        condition: Conditions {
            images: Vec::new(),
            ..level.condition
        },
        ..level
    };
    assert!(refused(&plain, &level).contains("condition.noise_level"));
    let gone = request(Compat::A1111, &[&"nowhere.png".into()]);
    assert!(refused(&unclip, &gone).contains("nowhere.png"));
    let strong = Request {
        condition: Conditions {
            images: vec![ImagePrompt {
                strength: f64::NAN,
                ..picture.into()
            }],
            ..asked.condition
        },
        ..asked
    };
    assert!(refused(&unclip, &strong).contains("images.strength"));
}

/// What a folder says of its encoder's pictures and of its noise is honoured or refused.
#[test]
fn settings_of_the_folder() {
    let (dir, files) = (tempfile::tempdir().unwrap(), Files::new());
    let folder = write_family(dir.path(), TinyFamily::Sd2UnClip, &mut weights)
        .unwrap()
        .folder;
    let picture = files.named("a.png", 60, 40);
    let asked = Request {
        condition: Conditions {
            noise_level: Some(500),
            ..request(Compat::Diffusers, &[&picture]).condition
        },
        ..request(Compat::Diffusers, &[&picture])
    };
    let usual = bytes(&open(folder.clone()).unwrap(), &asked);
    let processor = folder.join("feature_extractor/preprocessor_config.json");
    let noising = folder.join("image_noising_scheduler/scheduler_config.json");
    for (file, from, to, expected) in [
        (&processor, "0.48145466", "0.3", ""),
        (&noising, "squaredcos_cap_v2", "linear", ""),
        (&processor, "\"resample\":3", "\"resample\":2", "resample"),
        (
            &processor,
            "\"do_center_crop\":true",
            "\"do_center_crop\":false",
            "do_center_crop",
        ),
        (
            &processor,
            "\"shortest_edge\":32",
            "\"shortest_edge\":224",
            "size",
        ),
        (
            &processor,
            "\"image_std\":[",
            "\"image_std\":[0,",
            "image_std",
        ),
        (
            &noising,
            "squaredcos_cap_v2",
            "cubic",
            "image_noising_scheduler",
        ),
    ] {
        let text = std::fs::read_to_string(file).unwrap();
        let plain = serde_json::from_str::<serde_json::Value>(&text)
            .unwrap()
            .to_string();
        assert!(plain.contains(from), "{plain}");
        std::fs::write(file, plain.replacen(from, to, 1)).unwrap();
        match (open(folder.clone()), expected) {
            (Ok(model), "") => assert_ne!(bytes(&model, &asked), usual, "{to}"),
            (Err(error), wrong) if !wrong.is_empty() => {
                assert!(error.to_string().contains(wrong), "{error}");
            }
            (other, _) => panic!("{to}: {:?}", other.err()),
        }
        std::fs::write(file, text).unwrap();
    }
    // Without them they are as published.
    for gone in ["feature_extractor", "image_noising_scheduler"] {
        std::fs::remove_dir_all(folder.join(gone)).unwrap();
    }
    let index = folder.join("model_index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entries = value.as_object_mut().unwrap();
    entries.retain(|name, _| name != "feature_extractor" && name != "image_noising_scheduler");
    std::fs::write(&index, value.to_string()).unwrap();
    assert_eq!(bytes(&open(folder).unwrap(), &asked), usual);
}

#[test]
fn a_request_keeps_its_pictures() {
    let mut asked = request(Compat::ComfyUi, &[&"a.png".into(), &"b.png".into()]);
    asked.condition.images[1].strength = 0.4;
    asked.condition.noise_level = Some(200);
    assert_eq!(Request::from_json(&asked.to_json()).unwrap(), asked);
    let toml =
        "noise_level = 9\nimages = [{ image = \"a.png\" }, { image = \"b.png\", strength = -2 }]";
    let read = Request::from_toml(toml).unwrap();
    let strengths: Vec<f64> = read
        .condition
        .images
        .iter()
        .map(|image| image.strength)
        .collect();
    assert_eq!(
        (strengths, read.condition.noise_level),
        (vec![1.0, -2.0], Some(9))
    );
    for wrong in [
        "images = [{}]",
        "images = [{ image = \"a.png\", weight = 1 }]",
        "images = \"a.png\"",
    ] {
        assert!(Request::from_toml(wrong).is_err(), "{wrong}");
    }
}
