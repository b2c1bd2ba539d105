//! From what was typed to requests: defaults, then a request file or a picture's metadata, then flags.

use std::{hash::BuildHasher, io::Read, path::Path};

use latent_pipeline::{
    Profile, Resolved,
    infotext::Infotext,
    picture::{Picture, files::read_bytes, metadata::Metadata},
    request::{Compat, DynamicThresholding, Hires, Outpaint, Request, Tiling},
};

use crate::{
    args::{GenerateArgs, HiresArgs, LegacyArgs, PictureArgs, SamplingArgs},
    failure::Failure,
};

/// Requests to run one after the other, and remarks for the person.
#[derive(Debug)]
pub struct Jobs {
    /// Validated, seeds drawn.
    pub requests: Vec<Request>,
    /// What was read and could not be taken over.
    pub notes: Vec<String>,
}

/// Everything `latent generate` was asked for.
///
/// # Errors
/// The first fault found, before any model is opened.
pub fn jobs(args: &GenerateArgs) -> Result<Jobs, Failure> {
    let mut notes = Vec::new();
    let mut request = base(args, &mut notes)?;
    apply(args, &mut request)?;
    request.seed = Some(request.seed.unwrap_or_else(random));
    if request.subseed_strength > 0.0 {
        request.subseed = Some(request.subseed.unwrap_or_else(random));
    }
    request.validate()?;
    let profile = Profile::of(request.compat);
    Resolved::of(&request.sampler, &request.scheduler, &profile)?;
    if let Some(hires) = &request.hires {
        let sampler = hires.sampler.as_ref().unwrap_or(&request.sampler);
        let scheduler = hires.scheduler.as_ref().unwrap_or(&request.scheduler);
        Resolved::of(sampler, scheduler, &profile)?;
    }
    for (flag, file) in [
        ("--model", &request.model),
        ("--vae", &request.vae),
        ("--text-encoder", &request.text_encoder),
        ("--init-img", &request.init_image),
        ("--mask", &request.mask),
    ] {
        if let Some(file) = file.as_ref().filter(|file| !file.exists()) {
            return Err(Failure::input(format!(
                "{flag}: {} does not exist",
                file.display()
            )));
        }
    }
    let requests = match &args.prompt.prompts_from {
        None => vec![request],
        Some(file) => prompts(file)?
            .into_iter()
            .map(|prompt| {
                let request = Request {
                    prompt,
                    ..request.clone()
                };
                request.validate().map(|()| request)
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(Jobs { requests, notes })
}

/// A seed nobody chose, in the range that A1111 draws from.
fn random() -> u64 {
    // The standard library seeds its hash maps from the system.
    let number = std::hash::RandomState::new().hash_one(std::process::id());
    number % u64::from(u32::MAX)
}

fn prompts(file: &Path) -> Result<Vec<String>, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| Failure::input(format!("standard input cannot be read as text: {e}")))?;
        text
    } else {
        read_text(file)?
    };
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match lines.is_empty() {
        true => Err(Failure::input(format!(
            "{} holds no prompt: one a line is expected",
            file.display()
        ))),
        false => Ok(lines),
    }
}

fn read_text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|e| Failure::input(format!("cannot read {} as text: {e}", file.display())))
}

/// What the flags are laid over.
fn base(args: &GenerateArgs, notes: &mut Vec<String>) -> Result<Request, Failure> {
    if let Some(file) = &args.source.request {
        let text = read_text(file)?;
        let in_file = |e| Failure::input(format!("{}: {e}", file.display()));
        let toml = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        return match toml {
            true => Request::from_toml(&text),
            false => Request::from_json(&text),
        }
        .map_err(in_file);
    }
    let Some(file) = &args.source.from else {
        return Ok(Request::default());
    };
    let name = file.display().to_string();
    let metadata = Metadata::read(&name, &read_bytes(file)?)?;
    let in_file = |e| Failure::input(format!("the metadata of {name}: {e}"));
    if let Some(json) = metadata.request {
        return Request::from_json(&json).map_err(in_file);
    }
    let Some(text) = metadata.parameters else {
        return Err(Failure::input(format!(
            "{name} holds no settings: neither this program's request nor A1111's `parameters` text"
        )));
    };
    let info = Infotext::parse(&text);
    if info.entries.is_empty() {
        return Err(Failure::input(format!(
            "{name} holds text without settings: {text}"
        )));
    }
    let (request, unknown) = info.to_request().map_err(in_file)?;
    if !unknown.is_empty() {
        notes.push(format!(
            "settings of the picture that have no meaning here: {}",
            unknown.join(", ")
        ));
    }
    if args.model.model.is_none() {
        let named = |key| info.get(key).map(|v| format!(" {v}")).unwrap_or_default();
        notes.push(format!(
            "the picture names its model{} (hash{}) but not where it is: give it with --model",
            named("Model"),
            named("Model hash"),
        ));
    }
    Ok(request)
}

/// Writes a value over a field where one was typed.
fn set<T>(field: &mut T, typed: Option<T>) {
    if let Some(value) = typed {
        *field = value;
    }
}

fn set_some<T>(field: &mut Option<T>, typed: Option<T>) {
    if typed.is_some() {
        *field = typed;
    }
}

fn apply(args: &GenerateArgs, request: &mut Request) -> Result<(), Failure> {
    set(&mut request.prompt, args.prompt.prompt.clone());
    set(
        &mut request.negative_prompt,
        args.prompt.negative_prompt.clone(),
    );
    set_some(&mut request.model, args.model.model.clone());
    set_some(&mut request.vae, args.model.vae.clone());
    set_some(&mut request.text_encoder, args.model.text_encoder.clone());
    set_some(&mut request.dtype, args.model.dtype);
    set(&mut request.vae_tiling, args.model.vae_tiling);
    sampling(&args.sampling, request)?;
    picture(&args.picture, request)?;
    own_size(args, request)?;
    hires(&args.hires, request);
    legacy(&args.legacy, request)
}

/// A seed as typed: anything below 0 asks for a random one, as in sd.cpp.
fn seed(flag: &str, typed: i128) -> Result<Option<u64>, Failure> {
    if typed < 0 {
        return Ok(None);
    }
    u64::try_from(typed).map(Some).map_err(|_| {
        Failure::input(format!(
            "{flag} {typed} is out of range: expected −1 (random) or 0 to {}",
            u64::MAX
        ))
    })
}

fn sampling(args: &SamplingArgs, request: &mut Request) -> Result<(), Failure> {
    set(&mut request.compat, args.compat);
    set(&mut request.steps, args.steps);
    set(&mut request.cfg_scale, args.cfg_scale);
    if let Some(sampler) = &args.sampler {
        // A scheduler of the file belonged to its sampler.
        request.sampler.clone_from(sampler);
        request.scheduler = Request::default().scheduler;
    }
    set(&mut request.scheduler, args.scheduler.clone());
    if let Some(typed) = args.seed {
        request.seed = seed("--seed", typed)?;
    }
    if let Some(typed) = args.subseed {
        request.subseed = seed("--subseed", typed)?;
    }
    set(&mut request.subseed_strength, args.subseed_strength);
    set_some(&mut request.seed_resize_from, args.seed_resize_from);
    set(&mut request.ensd, args.ensd);
    set(
        &mut request.width,
        args.width.or(args.size.map(|s| s.width)),
    );
    set(
        &mut request.height,
        args.height.or(args.size.map(|s| s.height)),
    );
    set(&mut request.batch_size, args.batch_size);
    set(&mut request.batch_count, args.batch_count);
    match args.clip_skip {
        // sd.cpp's "unspecified", and ComfyUI's last layer, which is the same.
        Some(-1) => request.clip_skip = None,
        typed => set_some(&mut request.clip_skip, typed),
    }
    set_some(&mut request.weight_rule, args.weight_rule);
    set_some(&mut request.rng, args.rng);
    set_some(&mut request.eta, args.eta);
    set(&mut request.s_churn, args.s_churn);
    set(&mut request.s_tmin, args.s_tmin);
    set_some(&mut request.s_tmax, args.s_tmax);
    set(&mut request.s_noise, args.s_noise);
    set_some(&mut request.sigmas, args.sigmas.clone());
    set(&mut request.cfg_rescale, args.cfg_rescale);
    set(&mut request.tiling, args.tiling);
    if let Some(typed) = &args.guidance_interval {
        let [from, to] = typed[..] else {
            return Err(Failure::input(
                "--guidance-interval takes two fractions of the run, such as 0.1,0.8",
            ));
        };
        request.guidance_interval = Some([from, to]);
    }
    if let Some(typed) = &args.dynamic_thresholding {
        let default = DynamicThresholding::default();
        request.dynamic_thresholding = Some(match typed[..] {
            [percentile] => DynamicThresholding {
                percentile,
                ..default
            },
            [percentile, mimic] => DynamicThresholding { percentile, mimic },
            _ => {
                return Err(Failure::input(
                    "--dynamic-thresholding takes a percentile and a scale, such as 0.995,7",
                ));
            }
        });
    }
    Ok(())
}

fn picture(args: &PictureArgs, request: &mut Request) -> Result<(), Failure> {
    set_some(&mut request.init_image, args.init_img.clone());
    set(&mut request.strength, args.strength);
    set(&mut request.resize_mode, args.resize_mode);
    set_some(&mut request.mask, args.mask.clone());
    set(&mut request.mask_blur, args.mask_blur);
    request.mask_invert |= args.mask_invert;
    set(&mut request.inpaint_fill, args.inpaint_fill);
    request.inpaint_only_masked |= args.only_masked;
    set(&mut request.inpaint_padding, args.inpaint_padding);
    if let Some(typed) = &args.outpaint {
        let [left, right, top, bottom] = typed[..] else {
            return Err(Failure::input(
                "--outpaint takes four numbers of pixels, LEFT,RIGHT,TOP,BOTTOM, such as 128,128,0,0",
            ));
        };
        request.outpaint = Some(Outpaint {
            left,
            right,
            top,
            bottom,
        });
    }
    Ok(())
}

/// The side of the test model's pictures: it draws patterns of any size, and small ones at once.
const TEST_MODEL_SIDE: usize = 128;

/// Where nothing says a size, a picture keeps its own, with the edges that are added, and the test model draws small. The
/// masked region alone is worked on at the model's size, as in A1111.
fn own_size(args: &GenerateArgs, request: &mut Request) -> Result<(), Failure> {
    let size = &args.sampling;
    let said = size.width.is_some() || size.height.is_some() || size.size.is_some();
    let from_file = args.source.request.is_some() || args.source.from.is_some();
    if said || from_file {
        return Ok(());
    }
    if let Some(path) = request.init_image.as_ref().filter(|path| path.exists()) {
        if !request.inpaint_only_masked {
            let picture = Picture::read(path)?.size();
            let edges = request.outpaint.unwrap_or_default();
            request.width = picture
                .width
                .saturating_add(edges.left)
                .saturating_add(edges.right);
            request.height = picture
                .height
                .saturating_add(edges.top)
                .saturating_add(edges.bottom);
        }
    } else if request.model.is_none() {
        (request.width, request.height) = (TEST_MODEL_SIDE, TEST_MODEL_SIDE);
    }
    Ok(())
}

fn hires(args: &HiresArgs, request: &mut Request) {
    let asked = args.hires
        || args.hires_scale.is_some()
        || args.hires_width.is_some()
        || args.hires_height.is_some()
        || args.hires_upscaler.is_some()
        || args.hires_steps.is_some()
        || args.hires_denoising_strength.is_some()
        || args.hires_sampler.is_some()
        || args.hires_scheduler.is_some()
        || args.hires_prompt.is_some()
        || args.hires_negative_prompt.is_some();
    if !asked {
        return;
    }
    let hires = request.hires.get_or_insert_with(Hires::default);
    if let Some(scale) = args.hires_scale {
        // A factor typed now replaces a size from the file.
        (hires.scale, hires.width, hires.height) = (scale, None, None);
    }
    // 0 is sd.cpp's "not given".
    let given = |typed: Option<usize>| typed.filter(|v| *v > 0);
    set_some(&mut hires.width, given(args.hires_width));
    set_some(&mut hires.height, given(args.hires_height));
    set_some(&mut hires.steps, given(args.hires_steps));
    set(&mut hires.upscaler, args.hires_upscaler);
    set(&mut hires.denoising_strength, args.hires_denoising_strength);
    set_some(&mut hires.sampler, args.hires_sampler.clone());
    set_some(&mut hires.scheduler, args.hires_scheduler.clone());
    set_some(&mut hires.prompt, args.hires_prompt.clone());
    set_some(
        &mut hires.negative_prompt,
        args.hires_negative_prompt.clone(),
    );
}

fn legacy(args: &LegacyArgs, request: &mut Request) -> Result<(), Failure> {
    if args.plms {
        request.sampler = "PLMS".to_owned();
    }
    if args.dpm_solver {
        (request.sampler, request.scheduler) = ("DPM++ 2M".to_owned(), "Uniform".to_owned());
    }
    let (x, y) = (
        args.circular || args.circularx,
        args.circular || args.circulary,
    );
    match (x, y) {
        (true, true) => request.tiling = Tiling::Both,
        (true, false) => request.tiling = Tiling::X,
        (false, true) => request.tiling = Tiling::Y,
        (false, false) => {}
    }
    for (flag, typed, only) in [("--C", args.channels, 4), ("--f", args.factor, 8)] {
        if let Some(other) = typed.filter(|v| *v != only) {
            return Err(Failure::input(format!(
                "{flag} {other} cannot be honoured: the model decides, and Stable Diffusion 1.x has {only}"
            )));
        }
    }
    match args.mode.as_deref() {
        None | Some("img_gen" | "txt2img" | "img2img") => Ok(()),
        Some("convert") => Err(Failure::input(
            "--mode convert is a command of its own here: latent convert FROM TO",
        )),
        Some("metadata") => Err(Failure::input(
            "--mode metadata is a command of its own here: latent info FILE",
        )),
        Some(other) => Err(Failure::input(format!(
            "--mode {other} is not part of this version: expected img_gen"
        ))),
    }
}

/// A line for each setting that differs from its default, for `-v`.
pub fn describe(request: &Request) -> Vec<String> {
    let pairs = |request: &Request| match serde_json::to_value(request) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let default = pairs(&Request {
        compat: Compat::A1111,
        ..Request::default()
    });
    let always = [
        "steps",
        "cfg_scale",
        "sampler",
        "scheduler",
        "seed",
        "width",
        "height",
        "compat",
    ];
    pairs(request)
        .into_iter()
        .filter(|(key, value)| always.contains(&key.as_str()) || default.get(key) != Some(value))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
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

    fn one(line: &[&str]) -> Request {
        jobs(&args(line)).unwrap().requests.remove(0)
    }

    fn refused(line: &[&str]) -> Failure {
        let failure = jobs(&args(line)).unwrap_err();
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
        });
        let from = ["--from", path.to_str().unwrap()];
        assert_eq!(one(&from), request);
        write(Metadata {
            parameters: Some(
                "y\nSteps: 4, Sampler: Euler a, CFG scale: 5, Seed: 9, Model: m, Wild: 1".into(),
            ),
            request: None,
        });
        let jobs = jobs(&args(&from)).unwrap();
        assert_eq!(
            (jobs.requests[0].steps, jobs.requests[0].seed),
            (4, Some(9))
        );
        assert_eq!(jobs.notes.len(), 2);
        write(Metadata::default());
        assert!(refused(&from).message.contains("no settings"));
    }

    #[test]
    fn one_job_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.txt");
        std::fs::write(&file, "a cat\n\n  a dog \n").unwrap();
        let jobs = jobs(&args(&["--from-file", file.to_str().unwrap(), "-s", "3"])).unwrap();
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
        assert!(refused(&["--mask", "m.png"]).message.contains("init_image"));
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
        // The test model, and a model that is given.
        assert_eq!(one(&[]).width, TEST_MODEL_SIDE);
        assert_eq!(one(&["-m", path.to_str().unwrap()]).width, 512);
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
        assert_eq!(one(&["--vae-tiling"]).vae_tiling.to_string(), "on");
        let lines = describe(&request);
        assert!(
            lines.iter().any(|l| l == "tiling = \"x\"")
                && !lines.iter().any(|l| l.starts_with("ensd"))
        );
    }
}
