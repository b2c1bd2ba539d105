//! What models of the published families can do together: a refiner that finishes a picture, a tiny autoencoder that shows it.

mod common;

use common::{Place, TINY};
use latent_checkpoint::tiny::{TinyFamily, write_family, write_taesd};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use latent_testkit::recipe::tensor_f16;

impl Place {
    /// A tiny model of a published kind; its file.
    fn family(&self, name: &str, family: TinyFamily) -> String {
        let folder = self.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write_family(&folder, family, &mut |component, name, shape| {
            tensor_f16(&format!("{component}/{name}"), shape, 0)
        })
        .unwrap();
        let file = format!("{name}.safetensors");
        std::fs::rename(folder.join("model.safetensors"), self.path().join(&file)).unwrap();
        file
    }

    fn metadata(&self, picture: &str) -> Metadata {
        Metadata::read(picture, &self.bytes(picture)).unwrap()
    }
}

/// 64×64 of a model in so many steps.
fn asked<'a>(model: &'a str, steps: &'a str) -> [&'a str; 11] {
    [
        "generate", "-p", "a cat", "--size", "64x64", "-s", "3", "--steps", steps, "-m", model,
    ]
}

/// In every profile: the refiner acts, the picture says so, and is drawn again from what it says.
#[test]
fn a_refiner_finishes_the_picture() {
    let place = Place::new();
    let base = place.family("base", TinyFamily::Sdxl);
    let refiner = place.family("refiner", TinyFamily::Refiner);
    let line = [
        &asked(&base, "4")[..],
        &["--overwrite", "--sampler", "Euler"],
    ]
    .concat();
    for compat in ["a1111", "comfyui", "diffusers"] {
        let draw = |more: &[&str]| place.ok(&[&line[..], &["--compat", compat], more].concat());
        draw(&["-o", "plain.png"]);
        let refined = ["--refiner", &refiner, "--refiner-switch", "0.5"];
        draw(&[&refined[..], &["-o", "a.png"]].concat());
        assert_ne!(
            place.picture("a.png").rgb(),
            place.picture("plain.png").rgb(),
            "{compat}"
        );
        let text = place.metadata("a.png").parameters.unwrap();
        let named = "Refiner: refiner [";
        assert!(
            text.contains(named) && text.contains("], Refiner switch at: 0.5"),
            "{text}"
        );
        place.ok(&["generate", "--from", "a.png", "--overwrite", "-o", "b.png"]);
        assert_eq!(place.bytes("a.png"), place.bytes("b.png"), "{compat}");
    }
    // A1111's text names the refiner and not its file.
    let alone = Metadata {
        request: None,
        ..place.metadata("a.png")
    };
    let text = place.path().join("text.png");
    Picture::plain(64, 64, [0; 3])
        .write(&text, 95, &alone, false)
        .unwrap();
    let again = [
        "generate",
        "--from",
        "text.png",
        "-m",
        &base,
        "--overwrite",
        "-o",
        "c.png",
    ];
    let said = String::from_utf8_lossy(&place.run(&again).stderr).into_owned();
    assert!(said.contains("give it with --refiner"), "{said}");
    let said = place.run(&[&again[..], &["--refiner", &refiner]].concat());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("--refiner"), "{said}");
    assert_eq!(place.picture("c.png").rgb(), place.picture("a.png").rgb());

    // It draws from text alone too, which it was not trained for.
    let alone = ["-m", &refiner, "-o", "e.png"];
    let said = place.run(&[&asked(&refiner, "1")[..9], &alone].concat());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("the last fifth of the noise"), "{said}");

    let refused =
        |more: &[&str], code| place.fails(&[&line[..], more, &["-o", "d.png"]].concat(), code);
    let error = refused(&["--refiner", TINY], 2);
    assert!(
        error.contains("other latents") && error.contains("SDXL"),
        "{error}"
    );
    let error = refused(&["--refiner", "nothing.safetensors"], 2);
    assert!(
        error.contains("--refiner: nothing.safetensors does not exist"),
        "{error}"
    );
    let error = refused(&["--refiner", &refiner, "--refiner-switch", "1.2"], 2);
    assert!(error.contains("`refiner_switch` is 1.2"), "{error}");
    assert!(!place.path().join("d.png").exists());
}

#[test]
fn previews_of_a_tiny_autoencoder_and_of_a_linear_map() {
    let place = Place::new();
    write_taesd(
        &place.path().join("taesd.safetensors"),
        &mut |component, name, shape| tensor_f16(&format!("{component}/{name}"), shape, 0),
    )
    .unwrap();
    let size = |file: &str| {
        let size = place.picture(file).size();
        (size.width, size.height)
    };
    place.draw(&["--preview", "p.png", "-o", "a.png"]);
    assert_eq!(size("p.png"), (8, 6));
    let tiny = ["--preview-vae", "taesd.safetensors"];
    let at = ["--preview", "tae", "--preview-path", "q.png"];
    place.draw(&[&tiny[..], &at, &["-o", "b.png"]].concat());
    assert_eq!(size("q.png"), (64, 48));
    assert_eq!(place.picture("a.png").rgb(), place.picture("b.png").rgb());
    // The last preview is of the latent that is decoded: by the same autoencoder, the same picture.
    place.draw(&["--vae", "taesd.safetensors", "-o", "c.png"]);
    let (shown, drawn) = (place.picture("q.png"), place.picture("c.png"));
    let pairs = shown.rgb().iter().zip(drawn.rgb());
    let most = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(most <= 1, "{most}");

    // Of SDXL, its own map, and a word about a file that is called otherwise.
    let xl = place.family("base", TinyFamily::Sdxl);
    let shown = ["-o", "d.png", "--preview", "r.png"];
    let said = place.run(&[&asked(&xl, "1")[..], &shown, &tiny].concat());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("taesdxl"), "{said}");
    assert_eq!(size("r.png"), (64, 64));
    // A model that was trained here: a map that is fitted to its decoder.
    place.ok(&[
        "generate",
        "cat",
        "--steps",
        "1",
        "-o",
        "e.png",
        "--preview",
        "s.png",
    ]);
    let whole = size("e.png");
    assert!(size("s.png").0 < whole.0, "{:?} {whole:?}", size("s.png"));
    let error = place.fails(
        &[
            "generate",
            "cat",
            "--preview",
            "tae",
            "--preview-path",
            "t.png",
        ],
        2,
    );
    assert!(error.contains("--preview-vae"), "{error}");
}

/// What is known not to fit is refused with its flag and its file, before anything is drawn.
#[test]
fn networks_in_the_place_of_a_models_own_must_fit() {
    let place = Place::new();
    let xl = place.family("xl", TinyFamily::Sdxl);
    let upscaler = place.family("x4", TinyFamily::Upscaler);
    write_taesd(
        &place.path().join("taesd.safetensors"),
        &mut |component, name, shape| tensor_f16(&format!("{component}/{name}"), shape, 0),
    )
    .unwrap();
    place.ok(&["convert", TINY, "sd1"]);
    let refused = |model: &[&str], flags: &[&str]| {
        let line = ["generate", "a cat", "--size", "64", "--steps", "1"];
        place.fails(&[&line[..], model, flags, &["-o", "no.png"]].concat(), 2)
    };
    let of_xl = ["-m", &xl];
    for (model, flags, words) in [
        (
            &["-m", TINY][..],
            ["--text-encoder", "taesd.safetensors"],
            "there is no text encoder in it; it has autoencoder",
        ),
        (
            &["-m", TINY],
            ["--text-encoder", "sd1/vae"],
            "there is no text encoder in it; it has autoencoder",
        ),
        (
            &[],
            ["--text-encoder", TINY],
            "--text-encoder tiny/model.safetensors: the model takes no text encoder",
        ),
        (
            &of_xl,
            ["--text-encoder", "sd1/text_encoder"],
            "--text-encoder sd1/text_encoder: it does not go with the model, which is SDXL",
        ),
        (
            &of_xl,
            ["--vae", &upscaler],
            "--vae x4.safetensors: it makes latents of 4 channels at 1/4 size, and SDXL takes",
        ),
        (
            &of_xl,
            ["--vae", TINY],
            "--vae tiny/model.safetensors: it is of Stable Diffusion 1.x, and it works in other latents (scale 0.18215)",
        ),
        (
            &of_xl,
            ["--vae", "sd1/vae"],
            "--vae sd1/vae: it works in other latents (scale 0.18215) than SDXL (scale 0.13025)",
        ),
        (
            &["-m", "xl/diffusers/unet"],
            ["--vae", "sd1/vae"],
            "nearest is SDXL",
        ),
    ] {
        let error = refused(model, &flags);
        assert!(error.contains(words), "{flags:?}: {error}");
    }
    assert!(!place.path().join("no.png").exists());
    let tiny = ["--vae", "taesd.safetensors", "-o", "yes.png"];
    let said = place.run(&[&asked(&xl, "1")[..], &tiny].concat());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("--vae taesd.safetensors") && said.contains("taesdxl"),
        "{said}"
    );
}
