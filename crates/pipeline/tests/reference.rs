//! Pictures as references, by the denoiser's own attention: a pipeline against its golden (`tools/reference/reference_only.py`),
//! and what is refused.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use std::collections::BTreeMap;

use latent_checkpoint::tiny::TinyFamily;
use latent_models::Form;
use latent_pipeline::picture::Picture;
use latent_pipeline::request::{Compat, ControlMode, Hires, Reference};
use latent_pipeline::resources::Memory;
use latent_pipeline::{Model, Quiet, Request, run};
use latent_testkit::{Golden, closeness, recipe};

use common::{family, scheduler, tiny};

fn png(width: usize, height: usize) -> Vec<u8> {
    let picture = Picture::new(width, height, recipe::picture(width, height)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.png");
    picture.write(&path, 90, &Default::default(), true).unwrap();
    std::fs::read(path).unwrap()
}

fn pictures() -> Memory {
    Memory {
        files: BTreeMap::from([("a.png".into(), png(64, 64)), ("b.png".into(), png(96, 64))]),
        ..Memory::default()
    }
}

fn refers() -> Reference {
    Reference::new("a.png".into())
}

fn asks(reference: Vec<Reference>) -> Request {
    Request {
        width: 64,
        reference,
        ..golden::request("DDIM")
    }
}

fn latent(model: &Model, request: &Request) -> Vec<f32> {
    let outputs = run(request, model, &pictures(), None, &mut Quiet).unwrap();
    outputs[0].latent.to_data().iter::<f32>().collect()
}

#[test]
fn a_pipeline() {
    let golden = Golden::reference_only();
    let want = golden.values("latent");
    let model = tiny(4, scheduler());
    let got = latent(&model, &asks(vec![refers()]));
    let far = closeness(&got, want);
    println!("latent: {far:.2e}");
    assert!(far < 1e-3, "{far:e}");
    let far = closeness(
        &latent(
            &tiny(4, scheduler()).packed(Form::Plain),
            &asks(vec![refers()]),
        ),
        want,
    );
    assert!(far < 1e-3, "{far:e}");
    let plain = latent(&model, &asks(Vec::new()));
    assert!(closeness(&plain, want) > 1e-3);

    // Where it does not act nothing is changed.
    for none in [
        Reference {
            weight: 0.0,
            ..refers()
        },
        Reference {
            end: 0.0,
            ..refers()
        },
    ] {
        assert_eq!(latent(&model, &asks(vec![none])), plain);
    }
    // Modes are fidelities.
    let mode = |mode, fidelity| {
        latent(
            &model,
            &asks(vec![Reference {
                mode,
                fidelity,
                ..refers()
            }]),
        )
    };
    assert_eq!(
        mode(ControlMode::Prompt, 0.5),
        mode(ControlMode::Balanced, 0.0)
    );
    assert_eq!(
        mode(ControlMode::Control, 0.5),
        mode(ControlMode::Balanced, 1.0)
    );
    // Of several pictures of a batch each is as it is alone.
    let two = Request {
        batch_size: 2,
        ..asks(vec![refers()])
    };
    let outputs = run(&two, &model, &pictures(), None, &mut Quiet).unwrap();
    let first: Vec<f32> = outputs[0].latent.to_data().iter::<f32>().collect();
    assert!(closeness(&first, &got) < 1e-5);
    let alone = Request {
        seed: Some(43),
        ..asks(vec![refers()])
    };
    let second: Vec<f32> = outputs[1].latent.to_data().iter::<f32>().collect();
    assert!(closeness(&second, &latent(&model, &alone)) < 1e-5);
}

/// Two pictures, an inpainting network, SDXL, a second pass; and what is written.
#[test]
fn where_else_they_act() {
    let other = || Reference::new("b.png".into());
    let model = tiny(4, scheduler());
    let one = latent(&model, &asks(vec![refers()]));
    let two = latent(&model, &asks(vec![refers(), other()]));
    assert!(closeness(&one, &two) > 1e-4);
    for model in [tiny(9, scheduler()), family(TinyFamily::Sdxl, scheduler())] {
        let plain = latent(&model, &asks(Vec::new()));
        assert!(closeness(&plain, &latent(&model, &asks(vec![refers()]))) > 1e-4);
    }
    let hires = |fidelity| Request {
        compat: Compat::A1111,
        hires: Some(Hires {
            denoising_strength: 0.7,
            ..Hires::default()
        }),
        steps: 4,
        ..asks(vec![Reference {
            fidelity,
            ..refers()
        }])
    };
    let outputs = run(&hires(0.5), &model, &pictures(), None, &mut Quiet).unwrap();
    assert_eq!(outputs[0].picture.width(), 128);
    let said = "ControlNet 0: \"Module: reference_only, Model: None, Weight: 1, Resize Mode: Crop and Resize, Threshold A: 0.5, ";
    assert!(
        outputs[0].infotext.contains(said),
        "{}",
        outputs[0].infotext
    );
}

#[test]
fn what_is_refused() {
    let fails = |model: &Model, reference| {
        let result = run(&asks(vec![reference]), model, &pictures(), None, &mut Quiet);
        result.unwrap_err().to_string()
    };
    let model = tiny(4, scheduler());
    let words = fails(&model, Reference::new("c.png".into()));
    assert!(words.contains("c.png"), "{words}");
    let guess = Reference {
        mode: ControlMode::Guess,
        ..refers()
    };
    let words = fails(&model, guess);
    assert!(words.contains("reference.mode"), "{words}");
}
