//! From command lines to requests.

use super::*;
use crate::args::{Cli, Command};
use clap::CommandFactory;
use latent_pipeline::{
    asked::Said,
    picture::{Picture, metadata::Metadata},
    request::{
        ControlMode, DynamicThresholding, GuidanceOptions, Hires, Name, PerturbedAttention,
        SelfAttention, SkipLayers, Tiling, WeightType,
    },
    resources::Disk,
};
use std::ffi::OsString;

fn args(line: &[&str]) -> GenerateArgs {
    let line = ["latent", "generate"]
        .iter()
        .chain(line)
        .map(OsString::from);
    match Cli::read(line).unwrap().command {
        Command::Generate(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn asked(line: &[&str]) -> Result<Asked, Failure> {
    jobs(&args(line), &Disk::default())
}

fn one(line: &[&str]) -> Request {
    asked(line).unwrap().requests.remove(0)
}

fn refused(line: &[&str]) -> Failure {
    let failure = asked(line).unwrap_err();
    assert_eq!(failure.code, crate::failure::INPUT);
    failure
}

#[test]
fn flags_override_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    std::fs::write(
        &file,
        "prompt = \"a\"\nsteps = 9\nseed = 5\nsampler = \"DDIM\"\nscheduler = \"DDIM\"\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let said = |line: &[&str]| asked(line).unwrap().said;
    let by_file = Said {
        size: false,
        guidance: false,
        steps: true,
        prompt: true,
    };
    assert_eq!(said(&["--request", file]), by_file);
    let with_flag = Said {
        size: true,
        ..by_file
    };
    assert_eq!(said(&["--request", file, "-W", "64"]), with_flag);
    let request = one(&["--request", file, "--steps", "11", "--hires-scale", "1.5"]);
    assert_eq!(
        (request.prompt.as_str(), request.steps, request.seed),
        ("a", 11, Some(5))
    );
    assert_eq!(request.hires.unwrap().scale, 1.5);
    assert_eq!(
        one(&["--request", file, "--sampler", "Euler"]).scheduler,
        "Automatic"
    );
    std::fs::write(file, "prompts = \"a\"").unwrap();
    assert!(refused(&["--request", file]).message.contains("`prompt`"));
}

#[test]
fn a_picture_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let write = |metadata: Metadata| {
        Picture::plain(8, 8, [0; 3])
            .write(&path, 95, &metadata, true)
            .unwrap();
    };
    let request = Request {
        prompt: "x".into(),
        seed: Some(7),
        steps: 3,
        ..Request::default()
    };
    write(Metadata {
        parameters: Some("ignored".into()),
        request: Some(request.to_json()),
        ..Metadata::default()
    });
    let from = ["--from", path.to_str().unwrap()];
    assert_eq!(one(&from), request);
    write(Metadata {
        parameters: Some(
            "y\nSteps: 4, Sampler: Euler a, CFG scale: 5, Seed: 9, Model: m, Wild: 1".into(),
        ),
        ..Metadata::default()
    });
    // Nothing but the text says which model it was.
    assert!(refused(&from).message.contains("drawn with m: give"));
    let with_model = [&from[..], &["-m", path.to_str().unwrap()]].concat();
    let jobs = asked(&with_model).unwrap();
    assert_eq!(
        (jobs.requests[0].steps, jobs.requests[0].seed),
        (4, Some(9))
    );
    assert_eq!(jobs.notes.len(), 1);
    assert!(jobs.notes[0].contains("Wild"));
    write(Metadata::default());
    assert!(refused(&from).message.contains("no settings"));
}

#[test]
fn one_job_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompts.txt");
    std::fs::write(&file, "a cat\n\n  a dog \n").unwrap();
    let jobs = asked(&["--from-file", file.to_str().unwrap(), "-s", "3"]).unwrap();
    let prompts: Vec<_> = jobs.requests.iter().map(|r| r.prompt.as_str()).collect();
    assert_eq!(prompts, ["a cat", "a dog"]);
    assert!(jobs.requests.iter().all(|r| r.seed == Some(3)));
}

#[test]
fn seeds_are_drawn_or_taken() {
    assert_eq!(one(&["-s", "18446744073709551615"]).seed, Some(u64::MAX));
    let drawn = one(&["-s", "-1", "--subseed-strength", "0.5"]);
    assert!(drawn.seed.is_some() && drawn.subseed.is_some());
    assert_ne!(random(), random());
    refused(&["-s", "18446744073709551616"]);
}

#[test]
fn faults_are_found_before_a_model_is_opened() {
    assert!(
        refused(&["--sampler", "eulr"])
            .message
            .to_lowercase()
            .contains("euler")
    );
    assert!(refused(&["--steps", "0"]).message.contains("steps"));
    assert!(
        refused(&["-m", "/no/such/file"])
            .message
            .contains("--model")
    );
    assert!(
        refused(&["--mask", "m.png"])
            .message
            .contains("start.image")
    );
    assert!(refused(&["--C", "3"]).message.contains("--C"));
    assert!(refused(&["-M", "vid_gen"]).message.contains("vid_gen"));
    assert!(
        refused(&["--guidance-interval", "0.1"])
            .message
            .contains("two")
    );
}

#[test]
fn a_picture_keeps_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    Picture::plain(40, 24, [0; 3])
        .write(&path, 95, &Metadata::default(), false)
        .unwrap();
    let init = ["-i", path.to_str().unwrap()];
    let size = |more: &[&str]| {
        let request = one(&[&init, more].concat());
        (request.width, request.height)
    };
    assert_eq!(size(&[]), (40, 24));
    assert_eq!(size(&["--outpaint", "8,0,0,16"]), (48, 40));
    assert_eq!(size(&["-W", "64"]), (64, 512));
    let mask = ["--mask", path.to_str().unwrap(), "--only-masked"];
    assert_eq!(size(&mask), (512, 512));
    assert_eq!(one(&[]).width, 512);
    assert_eq!(one(&["-m", path.to_str().unwrap()]).width, 512);
}

#[test]
fn pictures_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        let picture = Picture::plain(8, 8, [0; 3]);
        picture
            .write(&path, 95, &Metadata::default(), true)
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b) = (file("a.png"), file("b.png"));
    let images = ["--image", &a, "--image", &b];
    let strengths = |request: &Request| {
        request
            .condition
            .images
            .iter()
            .map(|i| i.strength)
            .collect::<Vec<_>>()
    };
    let request = one(&images);
    assert_eq!(strengths(&request), [1.0, 1.0]);
    assert_eq!(request.condition.images[1].image.as_str(), Some(b.as_str()));
    let with = |more: &[&'static str]| [&images[..], more].concat();
    let request = one(&with(&[
        "--image-strength",
        "0.5,-1",
        "--noise-level",
        "200",
    ]));
    assert_eq!(
        (strengths(&request), request.condition.noise_level),
        (vec![0.5, -1.0], Some(200))
    );
    let typed = asked(&with(&["--noise-level", "3"])).unwrap().typed;
    assert!(typed.states("condition.images") && typed.states("condition.noise_level"));
    // Those of a file keep their pictures, and a flag replaces them.
    let job = folder.path().join("job.toml");
    std::fs::write(
        &job,
        format!("images = [{{ image = '{a}', strength = 2 }}]"),
    )
    .unwrap();
    let job = ["--request", job.to_str().unwrap()];
    assert_eq!(strengths(&one(&job)), [2.0]);
    assert_eq!(
        strengths(&one(&[&job[..], &["--image-strength", "3"]].concat())),
        [3.0]
    );
    assert_eq!(strengths(&one(&[&job[..], &images[..2]].concat())), [1.0]);
    let message = |line: &[&str]| refused(line).message;
    assert!(message(&with(&["--image-strength", "1"])).contains("2 pictures and 1 number"));
    assert!(message(&["--image-strength", "1"]).contains("0 pictures"));
    assert!(message(&["--image", "nowhere.png"]).contains("--image: nowhere.png"));
    assert!(message(&with(&["--image-strength", "1,11"])).contains("images.strength"));
}

#[test]
fn other_programs_flags_mean_the_same() {
    let request = one(&[
        "--plms",
        "--circularx",
        "--clip-skip",
        "-1",
        "--ddim_eta",
        "0.5",
    ]);
    assert_eq!(
        (request.sampler.as_str(), request.tiling),
        ("PLMS", Tiling::X)
    );
    assert_eq!((request.clip_skip, request.eta), (None, Some(0.5)));
    assert_eq!(one(&["--vae-tiling"]).compute.vae_tiling.to_string(), "on");
    let lines = describe(&request);
    assert!(
        lines.iter().any(|l| l == "tiling = \"x\"") && !lines.iter().any(|l| l.starts_with("ensd"))
    );
}

/// A message about a field names the flag that sets it.
#[test]
fn every_field_has_its_flag() {
    let request = Request {
        hires: Some(Hires::default()),
        guidance: GuidanceOptions {
            threshold: Some(DynamicThresholding::default()),
            pag: Some(PerturbedAttention::default()),
            sag: Some(SelfAttention::default()),
            skip_layers: Some(SkipLayers::default()),
            ..GuidanceOptions::default()
        },
        ..Request::default()
    };
    let mut fields = BTreeMap::new();
    settings("", &serde_json::to_value(request).unwrap(), &mut fields);
    assert!(fields.len() > 50, "{fields:?}");
    let program = Cli::command();
    let command = program.find_subcommand("generate").unwrap();
    let without: Vec<_> = fields
        .into_keys()
        .map(|field| (typed::flag_of(&field), field))
        .filter(|(flag, _)| {
            let known = |a: &clap::Arg| {
                let longs = a.get_long_and_visible_aliases().unwrap_or_default();
                longs.iter().any(|long| format!("--{long}") == *flag)
            };
            !command.get_arguments().any(known)
        })
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn networks_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, b"").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (net, picture) = (file("net.safetensors"), file("picture.png"));
    let (net, picture) = (net.as_str(), picture.as_str());
    let two = ["-p", "x", "--control", net, "--control", net];
    let pictures = ["--control-image", picture, "--control-image", picture];
    let more = [
        "--control-strength",
        "0.8,0.5",
        "--control-mode",
        "balanced,My prompt is more important",
    ];
    let request = one(&[&two[..], &pictures, &more].concat());
    let said: Vec<_> = request.control.iter().map(|c| (c.weight, c.mode)).collect();
    assert_eq!(
        said,
        [(0.8, ControlMode::Balanced), (0.5, ControlMode::Prompt)]
    );
    assert_eq!(
        request.control[1].image.as_ref().unwrap().as_str(),
        Some(picture)
    );
    let encoder = ["--control-encoder", picture, "--control-image", picture];
    let request = one(&[&["-p", "x", "--control", net][..], &encoder].concat());
    assert_eq!(request.control[0].encoder, Some(Name::from(picture)));
    let words = |line: &[&str]| refused(line).message;
    let fewer = words(&[&two[..], &["--control-image", picture]].concat());
    assert!(
        fewer.contains("--control-image") && fewer.contains("2 networks"),
        "{fewer}"
    );
    let none = words(&["-p", "x", "--control-weight", "0.5"]);
    assert!(
        none.contains("--control-weight has no effect without --control"),
        "{none}"
    );

    let job = folder.path().join("job.toml");
    let text =
        format!("prompt = \"a\"\n[[control]]\nmodel = {net:?}\nimage = {picture:?}\nend = 0.5\n");
    std::fs::write(&job, text).unwrap();
    let request = one(&[
        "--request",
        job.to_str().unwrap(),
        "--control-weight",
        "0.3",
    ]);
    assert_eq!(
        (request.control[0].weight, request.control[0].end),
        (0.3, 0.5)
    );

    let ip = ["-p", "x", "--ip-adapter", net];
    let shown = [
        "--ip-adapter-image",
        picture,
        "--ip-adapter-image",
        picture,
        "--ip-adapter-weight",
        "0.6",
    ];
    let request = one(&[&ip[..], &shown].concat());
    assert_eq!(
        (
            request.ip_adapter[0].images.len(),
            request.ip_adapter[0].weight
        ),
        (2, 0.6)
    );
    let none = words(&["-p", "x", "--ip-adapter-image", picture]);
    assert!(none.contains("--ip-adapter"), "{none}");
    let more = [
        "--ip-adapter-weight-type",
        "style",
        "--ip-adapter-mask",
        picture,
    ];
    let request = one(&[&ip[..], &shown, &more].concat());
    let shown = &request.ip_adapter[0];
    assert_eq!(shown.weight_type, WeightType::Style);
    assert_eq!(shown.mask, Some(Name::from(picture)));

    let reference = ["-p", "x", "--reference", picture];
    let set = ["--reference-fidelity", "0.25", "--reference-mode", "prompt"];
    let request = one(&[&reference[..], &set].concat());
    let referred = &request.reference[0];
    assert_eq!((referred.weight, referred.fidelity), (1.0, 0.25));
    assert_eq!(referred.mode, ControlMode::Prompt);
    let guess = words(&[&reference[..], &["--reference-mode", "guess"]].concat());
    assert!(guess.contains("reference-mode"), "{guess}");
    let none = words(&["-p", "x", "--reference-weight", "0.5"]);
    assert!(none.contains("without --reference"), "{none}");
    let freeu = one(&["-p", "x", "--freeu", "1.1,1.2,0.9,0.2"])
        .guidance
        .freeu
        .unwrap();
    assert_eq!((freeu.b, freeu.s), (Some([1.1, 1.2]), Some([0.9, 0.2])));
    assert!(one(&["-p", "x", "--freeu"]).guidance.freeu.is_some());
}
