//! Networks that are read when they are needed and give way to each other: the same pictures, and no weight in memory that
//! its stage does not need.

use std::path::Path;

use burn::tensor::{DType, Device};
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_models::Form;
use latent_pipeline::memory::Holding;
use latent_pipeline::model::Stage;
use latent_pipeline::request::{Compat, GivenPicture, Hires, Upscaler};
use latent_pipeline::resources::{Disk, Place};
use latent_pipeline::{
    Decoding, Error, Hooks, MemoryPlan, Model, ModelFiles, Quiet, Request, run, run_once,
};
use latent_testkit::recipe;

use super::{Files, PROFILES, bits, request};

fn write(dir: &Path, kind: TinyFamily) -> ModelFiles {
    let paths = write_family(dir, kind, &mut |folder, name, shape| {
        recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
    });
    ModelFiles::from(paths.expect("a model").safetensors)
}

fn declared(files: &ModelFiles) -> Model {
    let (model, _) = Model::declare(files, &Device::flex(), DType::F32).expect("a model");
    model.packed(Form::Plain)
}

fn opened(files: &ModelFiles) -> Model {
    let opened = Model::open(files, &Device::flex(), DType::F32, &mut |_, _, _| {});
    opened.expect("a model").0.packed(Form::Plain)
}

/// What is read, in order.
#[derive(Default)]
struct Loads(Vec<&'static str>);

impl Hooks for Loads {
    fn stage(&mut self, name: &'static str, _: usize, _: usize) {
        self.0.extend(name.strip_prefix("loading the "));
    }
}

const TEXT: &str = "text encoder";
const DENOISER: &str = "denoiser";
const AUTOENCODER: &str = "autoencoder";

/// Draws with everything in memory, with memory to spare and with as little as the job needs.
fn check(files: &ModelFiles, request: &Request, in_turn: &[&str]) {
    let expected =
        run(request, &opened(files), &Disk::default(), None, &mut Quiet).expect("pictures");
    let ample =
        |loads: &mut Loads| run_once(request, declared(files), &Disk::default(), None, loads);
    let tight = |loads: &mut Loads| {
        let model = declared(files);
        let plan = MemoryPlan::of(request, &model);
        assert_eq!(plan.held, 0);
        let least = plan.peak(Decoding::Whole, Holding::Turn);
        assert!(least < plan.peak(Decoding::Whole, Holding::Pair), "{plan}");
        run_once(request, model, &Disk::default(), Some(least), loads)
    };
    let mut loads = [Loads::default(), Loads::default()];
    let drawn = [ample(&mut loads[0]), tight(&mut loads[1])];
    for drawn in drawn {
        let drawn = drawn.expect("pictures");
        assert_eq!(drawn.len(), expected.len());
        for (a, b) in drawn.iter().zip(&expected) {
            assert!(bits(a) == bits(b), "{request:?}");
        }
    }
    let [ample, tight] = loads.map(|loads| loads.0);
    // A refiner is read before the first step where it stays.
    let mut once = ample;
    once.retain(|read| *read != "refiner");
    once.sort_unstable();
    assert_eq!(once, [AUTOENCODER, DENOISER, TEXT], "{request:?}");
    assert_eq!(tight, in_turn, "{request:?}");
}

#[test]
fn pictures_do_not_depend_on_what_is_in_memory() {
    let (dir, given) = (tempfile::tempdir().expect("a folder"), Files::new());
    let request = || Request {
        steps: 2,
        ..request()
    };
    let files = write(dir.path(), TinyFamily::Sdxl);
    check(&files, &request(), &[TEXT, DENOISER, AUTOENCODER]);
    let files = write(dir.path(), TinyFamily::Sd1);
    let batches = Request {
        batch_count: 2,
        ..request()
    };
    let twice = [TEXT, DENOISER, AUTOENCODER, DENOISER, AUTOENCODER];
    check(&files, &batches, &twice);
    let picture = Request {
        start: GivenPicture {
            image: Some(given.picture(64, 64)),
            mask: Some(given.mask(64, 64, 0, 30)),
            strength: 0.9,
            ..request().start
        },
        ..request()
    };
    check(
        &files,
        &picture,
        &[TEXT, AUTOENCODER, DENOISER, AUTOENCODER],
    );
    let hires = Request {
        hires: Some(Hires {
            scale: 1.5,
            upscaler: Upscaler::Lanczos,
            ..Hires::default()
        }),
        ..request()
    };
    check(&files, &hires, &twice);
    let files = write(dir.path(), TinyFamily::Sd1Inpainting);
    let nothing_given = [TEXT, AUTOENCODER, DENOISER, AUTOENCODER];
    check(&files, &request(), &nothing_given);
}

/// A refiner's denoiser, text encoder and autoencoder take part in it.
#[test]
fn a_refiner_and_its_model_give_way_to_each_other() {
    let folder = || tempfile::tempdir().expect("a folder");
    let (first, second) = (folder(), folder());
    let refiner = write(second.path(), TinyFamily::Refiner);
    let files = ModelFiles {
        refiner: Some(Place {
            path: refiner.model,
            files: refiner.built_in,
        }),
        refiner_decodes: true,
        ..write(first.path(), TinyFamily::Sdxl)
    };
    let ask = |batch_count, compat| Request {
        steps: 2,
        batch_count,
        compat,
        refiner: Some("refiner".into()),
        refiner_switch: 0.5,
        // So large that its three text encoders are not the most of it.
        width: 192,
        height: 128,
        ..request()
    };
    let once = [TEXT, DENOISER, AUTOENCODER];
    let twice = [TEXT, DENOISER, AUTOENCODER, DENOISER, AUTOENCODER];
    for compat in PROFILES {
        check(&files, &ask(1, compat), &once);
    }
    check(&files, &ask(2, Compat::A1111), &twice);
    let model = declared(&files);
    let plan = |batches| MemoryPlan::of(&ask(batches, Compat::A1111), &model);
    let peak = |batches| plan(batches).peak(Decoding::Whole, Holding::Pair);
    let smaller = plan(1).denoiser.min(plan(1).refiner);
    assert!(smaller > 0);
    assert_eq!(peak(2) - peak(1), smaller);
}

#[test]
fn a_model_that_goes_on_keeps_what_it_has_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = declared(&write(dir.path(), TinyFamily::Sd1));
    let stages = [Stage::Conditioning, Stage::Denoising, Stage::Compressing];
    let held = || stages.map(|stage| (model.held(stage), model.bytes(stage)));
    assert!(held().iter().all(|(held, all)| *held == 0 && *all > 0));
    let first = run(&request(), &model, &Disk::default(), None, &mut Quiet).expect("a picture");
    assert!(held().iter().all(|(held, all)| held == all));
    let mut loads = Loads::default();
    let second = run(&request(), &model, &Disk::default(), None, &mut loads).expect("a picture");
    assert!(bits(&first[0]) == bits(&second[0]));
    assert!(loads.0.is_empty());
    model.release(Stage::Denoising);
    assert_eq!(model.held(Stage::Denoising), 0);
    let third = run(&request(), &model, &Disk::default(), None, &mut loads).expect("a picture");
    assert!(bits(&first[0]) == bits(&third[0]));
    assert_eq!(loads.0, [DENOISER]);
}

#[test]
fn networks_that_draw_once_need_less_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = write(dir.path(), TinyFamily::Sdxl);
    let model = declared(&files);
    let plan = MemoryPlan::of(&request(), &model);
    let strips = Decoding::Strips(1);
    let [turn, all] = [Holding::Turn, Holding::All].map(|holding| plan.peak(strips, holding));
    assert!(turn < all);
    let error =
        run(&request(), &model, &Disk::default(), Some(turn), &mut Quiet).expect_err("all at once");
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    run_once(
        &request(),
        declared(&files),
        &Disk::default(),
        Some(turn),
        &mut Quiet,
    )
    .expect("a picture");
    let error = run_once(
        &request(),
        model,
        &Disk::default(),
        Some(turn - 1),
        &mut Quiet,
    )
    .expect_err("too little");
    assert!(matches!(error, Error::Memory { .. }), "{error}");
}
