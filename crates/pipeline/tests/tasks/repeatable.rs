//! Same seed, same bytes: in any batch, on any number of threads, drawn again.

use std::ops::ControlFlow;
use std::process::Command;

use latent_diffusion::Step;
use latent_pipeline::request::{Compat, Hires, Rng, Size};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Code, Hooks, Output, Request, run};

use super::{PROFILES, bits, differ, draw, model, one, request};

/// Draws three pictures as one batch, as three batches, and each again from its own request.
fn check(model: &latent_pipeline::Model, base: &Request) {
    let batch = |batch_size, batch_count| {
        let request = Request {
            batch_size,
            batch_count,
            ..base.clone()
        };
        draw(model, &request)
    };
    let (together, apart) = (batch(3, 1), batch(1, 3));
    let case = format!("{} {base:?}", base.compat);
    assert_eq!((together.len(), apart.len()), (3, 3), "{case}");
    for (i, (a, b)) in together.iter().zip(&apart).enumerate() {
        assert_eq!((a.index, b.index), (i, i), "{case}");
        assert!(
            bits(a) == bits(b),
            "picture {i} depends on its batch: {case}"
        );
        let again = one(model, &a.request);
        assert!(
            bits(a) == bits(&again),
            "picture {i} is not drawn again: {case}"
        );
        assert_eq!(a.infotext, again.infotext, "{case}");
        assert_eq!(a.request, again.request, "{case}");
    }
    assert!(
        differ(&together[0], &together[1]) && differ(&together[1], &together[2]),
        "{case}"
    );
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let model = model();
    let samplers = [
        "Euler a",
        "DPM++ SDE",
        "DPM++ 2M SDE",
        "DPM++ 3M SDE",
        "DPM2 a",
        "LCM",
        "Restart",
        "DPM fast",
        "UniPC",
        "PLMS",
    ];
    for (i, sampler) in samplers.into_iter().enumerate() {
        check(
            &model,
            &Request {
                sampler: sampler.into(),
                compat: PROFILES[i % 3],
                ..request()
            },
        );
    }
}

#[test]
fn nor_with_variation_and_reseeding() {
    let model = model();
    for (i, sampler) in ["Euler a", "DPM++ 2M SDE", "DPM++ SDE"]
        .into_iter()
        .enumerate()
    {
        let base = Request {
            sampler: sampler.into(),
            compat: PROFILES[i],
            ..request()
        };
        let varied = Request {
            subseed: Some(99),
            subseed_strength: 0.3,
            ..base.clone()
        };
        let reseeded = Request {
            ensd: 31337,
            ..base.clone()
        };
        let resized = Request {
            seed_resize_from: Some(Size {
                width: 48,
                height: 80,
            }),
            ..base.clone()
        };
        check(&model, &varied);
        check(&model, &reseeded);
        check(&model, &resized);
        let plain = one(&model, &base);
        assert!(
            differ(&plain, &one(&model, &varied)),
            "{sampler}: variation"
        );
        assert!(
            differ(&plain, &one(&model, &resized)),
            "{sampler}: resized noise"
        );
    }
    // re-seeding is for the noise of ancestral steps alone
    let ensd = |sampler: &str, ensd| {
        let request = Request {
            sampler: sampler.into(),
            ensd,
            ..request()
        };
        one(&model, &request)
    };
    for (sampler, acts) in [
        ("Euler a", true),
        ("DPM fast", true),
        ("Euler", false),
        ("DPM++ 2M SDE", false),
    ] {
        let (plain, moved) = (ensd(sampler, 0), ensd(sampler, 31337));
        assert_eq!(differ(&plain, &moved), acts, "{sampler}");
        assert_eq!(moved.infotext.contains("ENSD: 31337"), acts, "{sampler}");
    }
}

/// Its steps are chosen for each picture; a batch would make every picture walk with all the others.
#[test]
fn adaptive_pictures_are_drawn_one_by_one() {
    let model = model();
    let base = Request {
        sampler: "DPM adaptive".into(),
        compat: Compat::ComfyUi, // without noise, which costs many more steps
        width: 32,
        height: 32,
        ..request()
    };
    check(&model, &base);
    let request = Request {
        batch_size: 3,
        ..base
    };
    let mut stages = Stages::default();
    run(&request, &model, &Disk::default(), None, &mut stages).expect("pictures");
    assert_eq!(stages.sampling, [0, 1, 2]);
}

#[derive(Default)]
struct Stages {
    sampling: Vec<usize>,
}

impl Hooks for Stages {
    fn stage(&mut self, name: &'static str, _: usize, picture: usize) {
        if name == "sampling" {
            self.sampling.push(picture);
        }
    }
}

#[test]
fn nor_in_a_second_pass_or_with_texts_of_two_lengths() {
    let model = model();
    check(
        &model,
        &Request {
            sampler: "Euler a".into(),
            hires: Some(Hires {
                scale: 1.5,
                ..Hires::default()
            }),
            ..request()
        },
    );
    check(
        &model,
        &Request {
            prompt: "apple ".repeat(90) + "AND [red|green] pear :0.7",
            ..request()
        },
    );
}

#[test]
fn the_generator_is_part_of_the_request() {
    let model = model();
    let drawn = one(&model, &request());
    assert_eq!(drawn.request.rng, Some(Rng::Cuda));
    let drawn = one(
        &model,
        &Request {
            compat: Compat::Diffusers,
            ..request()
        },
    );
    assert_eq!(drawn.request.rng, Some(Rng::Cpu));
}

/// Hash of a few pictures, in this process's number of threads.
fn print_hashes() {
    let model = model();
    for (i, sampler) in ["Euler a", "DPM++ 2M SDE", "DDIM"].into_iter().enumerate() {
        let request = Request {
            sampler: sampler.into(),
            compat: PROFILES[i],
            prompt: "a (red:1.3) apple".into(),
            width: 72,
            height: 88,
            batch_size: 2,
            ..request()
        };
        for output in draw(&model, &request) {
            let (latent, rgb) = bits(&output);
            let bytes = latent.iter().flat_map(|v| v.to_le_bytes()).chain(rgb);
            let hash = bytes.fold(0xCBF2_9CE4_8422_2325, |h: u64, byte| {
                (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
            println!("hash of {sampler} {}: {hash:016x}", output.index);
        }
    }
}

const CHILD: &str = "LATENT_TASKS_CHILD";

#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        print_hashes();
    }
}

#[test]
fn nor_on_the_number_of_threads() {
    // The number of threads of a process is settled once, so each is tried in a process of its own.
    let run = |threads: usize| {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "repeatable::child", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .expect("a process");
        let error = String::from_utf8_lossy(&child.stderr).into_owned();
        assert!(child.status.success(), "{error}");
        let text = String::from_utf8(child.stdout).expect("text");
        let hashes: Vec<_> = text
            .lines()
            .filter_map(|l| Some(l[l.find("hash of")?..].to_owned()))
            .collect();
        assert_eq!(hashes.len(), 6, "{text}");
        hashes
    };
    let single = run(1);
    assert_eq!(run(2), single);
    assert_eq!(run(4), single);
}

/// Stops after so many steps.
struct StopAfter(usize);

impl Hooks for StopAfter {
    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        if step.index + 1 >= self.0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[test]
fn stopping_returns_what_there_is() {
    let model = model();
    for (sampler, hires) in [
        ("Euler", false),
        ("DPM++ 2M", true),
        ("DPM adaptive", false),
        ("PLMS", false),
    ] {
        let request = Request {
            sampler: sampler.into(),
            steps: 5,
            batch_size: 2,
            batch_count: 3,
            hires: hires.then(Hires::default),
            ..request()
        };
        let outputs =
            run(&request, &model, &Disk::default(), None, &mut StopAfter(2)).expect("pictures");
        // no further batch is begun; a sampler that runs pictures alone has only the first
        let expected = if sampler == "DPM adaptive" { 1 } else { 2 };
        assert_eq!(outputs.len(), expected, "{sampler}");
        let all = outputs
            .iter()
            .all(|o: &Output| o.stopped.is_some() && o.picture.width() == 64);
        assert!(all, "{sampler}");
        let text = &outputs[0].infotext;
        assert!(text.contains("Stopped: step "), "{sampler}: {text}");
        assert_eq!(
            text.contains("of the first pass"),
            hires,
            "{sampler}: {text}"
        );
    }
}

/// Drops the job once it has done so much: stretches of work begun, and steps taken.
#[derive(Default)]
struct DropAfter {
    stages: usize,
    steps: usize,
    most: [usize; 2],
    pictures: usize,
}

impl Hooks for DropAfter {
    fn stage(&mut self, _: &'static str, _: usize, _: usize) {
        self.stages += 1;
    }

    fn step(&mut self, _: &Step<'_>) -> ControlFlow<()> {
        self.steps += 1;
        match self.dropped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn dropped(&mut self) -> bool {
        self.stages >= self.most[0] || self.steps >= self.most[1]
    }

    fn picture(&mut self, _: &Output) {
        self.pictures += 1;
    }
}

/// A job that is dropped ends at once, in whatever stretch of work it is, and nothing more is decoded.
#[test]
fn a_dropped_job_ends_at_once() {
    let model = model();
    let request = Request {
        steps: 5,
        batch_count: 2,
        hires: Some(Hires::default()),
        ..request()
    };
    let most = usize::MAX;
    let mut whole = DropAfter {
        most: [most; 2],
        ..DropAfter::default()
    };
    run(&request, &model, &Disk::default(), None, &mut whole).expect("pictures");
    assert_eq!(whole.pictures, 2);
    let drops = (0..whole.stages).map(|stages| [stages, most]);
    let drops = drops.chain((1..whole.steps).map(|steps| [most, steps]));
    for most in drops {
        let mut hooks = DropAfter {
            most,
            ..DropAfter::default()
        };
        let error = run(&request, &model, &Disk::default(), None, &mut hooks).expect_err("dropped");
        assert_eq!(error.code(), "job_dropped", "{most:?}: {error}");
        let reached = (hooks.stages, hooks.steps);
        assert_eq!(reached.0.min(most[0]), reached.0, "{most:?}");
        assert!(reached.1 <= most[1], "{most:?}: {reached:?}");
        assert!(hooks.pictures < 2, "{most:?}");
    }
}

/// Parts of a job are its pictures.
#[test]
fn parts_of_a_job_are_its_pictures() {
    let model = model();
    for subseed_strength in [0.0, 0.3] {
        let whole = Request {
            batch_size: 2,
            batch_count: 2,
            subseed: Some(7),
            subseed_strength,
            ..request()
        };
        let all = draw(&model, &whole);
        let late = draw(&model, &whole.part(1..4));
        assert_eq!(late.len(), 3);
        for (part, own) in late.iter().zip(&all[1..]) {
            assert_eq!(bits(part), bits(own));
            assert_eq!(
                (&part.request, &part.infotext),
                (&own.request, &own.infotext)
            );
        }
    }
}
