//! Every published kind, on a tiny model of its shape, does each task, and what was asked counts: from text, from a picture, inside a
//! mask. What the numbers are is for goldens to say (`family`, `pipelines`).

use burn::tensor::{DType, Device};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_checkpoint::{Checkpoint, ConvertOptions, Target, convert};
use latent_models::Form;
use latent_pipeline::family::{self, Beside};
use latent_pipeline::picture::Picture;
use latent_pipeline::request::GivenPicture;
use latent_pipeline::resources::{Disk, Resources};
use latent_pipeline::{Model, ModelFiles, Quiet, Request, run};

use super::{Files, common, differ, one, request};

struct Kind {
    model: Model,
    files: Files,
}

impl Kind {
    fn new(kind: TinyFamily) -> Self {
        Self::of(common::family(kind, kind.scheduler()).packed(Form::Plain))
    }

    fn of(model: Model) -> Self {
        let files = Files::new();
        Self { model, files }
    }

    /// With TAESD in the place of its own autoencoder, as `--vae` puts it there.
    fn with_taesd(kind: TinyFamily) -> Self {
        // The networks are read from here when they are first needed.
        let files = Files::new();
        let written = write_family(files.0.path(), kind, &mut common::weights).unwrap();
        let [_, taesd, _] = common::taesd(files.0.path());
        let opened = ModelFiles {
            vae: Some(taesd),
            ..written.folder.into()
        };
        let quiet = &mut |_: &'static str, _, _| {};
        let (model, _) = Model::open(&opened, &Device::flex(), DType::F32, quiet).unwrap();
        let model = model.packed(Form::Plain);
        Self { model, files }
    }

    fn every_task(&self) {
        self.text_to_picture();
        self.picture_to_picture();
        self.inside_a_mask();
    }

    /// The request with what the family takes beside the text.
    fn asked(&self) -> Request {
        let mut asked = request();
        match self.model.family.beside {
            Beside::Depth => asked.condition.depth = Some(self.files.named("depth.png", 40, 40)),
            Beside::Small => asked.condition.upscale = Some(self.files.named("small.png", 16, 16)),
            _ => {}
        }
        if self.model.image_encoder.is_some() {
            asked.condition.images = vec![self.files.named("seen.png", 40, 40).into()];
        }
        asked
    }

    fn text_to_picture(&self) {
        let drawn = one(&self.model, &self.asked());
        let pixels = drawn.picture.rgb();
        assert!(pixels.iter().any(|v| *v != pixels[0]), "one colour");
        let other = Request {
            prompt: "a blue boat".into(),
            ..self.asked()
        };
        assert!(differ(&drawn, &one(&self.model, &other)), "the prompt");
        let again = one(&self.model, &drawn.request);
        assert!(!differ(&drawn, &again), "drawn again");
    }

    fn picture_to_picture(&self) {
        let with = |width, strength| {
            let init_image = Some(self.files.picture(width, 64));
            one(
                &self.model,
                &Request {
                    start: GivenPicture {
                        image: init_image,
                        strength,
                        ..self.asked().start
                    },
                    ..self.asked()
                },
            )
        };
        let drawn = with(64, 0.6);
        assert!(differ(&drawn, &with(32, 0.6)), "the picture");
        assert!(differ(&drawn, &with(64, 0.9)), "the strength");
    }

    fn inside_a_mask(&self) {
        let picture = self.files.picture(64, 64);
        let asked = Request {
            start: GivenPicture {
                image: Some(picture.clone()),
                mask: Some(self.files.mask(64, 64, 24, 64)),
                mask_blur: 0,
                strength: 0.9,
                ..self.asked().start
            },
            ..self.asked()
        };
        let drawn = one(&self.model, &asked).picture;
        let original = Disk::default().picture(&picture).unwrap();
        assert_eq!(drawn.pixel(4, 4), original.pixel(4, 4), "outside");
        let inside = (16..48).flat_map(|y| (24..64).map(move |x| (x, y)));
        let changed = inside.filter(|(x, y)| drawn.pixel(*x, *y) != original.pixel(*x, *y));
        assert!(changed.count() > 1000, "inside");
    }
}

macro_rules! kinds {
    ($($name:ident: $kind:ident;)*) => { $(
        #[test]
        fn $name() {
            Kind::new(TinyFamily::$kind).every_task();
        }
    )* };
}

kinds! {
    stable_diffusion_1: Sd1;
    stable_diffusion_1_inpainting: Sd1Inpainting;
    lcm: Lcm;
    stable_diffusion_2: Sd2;
    stable_diffusion_2_inpainting: Sd2Inpainting;
    stable_diffusion_2_depth: Sd2Depth;
    stable_diffusion_2_unclip: Sd2UnClip;
    upscaler: Upscaler;
    sdxl: Sdxl;
    sdxl_inpainting: SdxlInpainting;
    sdxl_turbo: SdxlTurbo;
    sdxl_v: SdxlV;
    ssd_1b: Ssd1b;
    vega: Vega;
    koala: Koala;
    playground: Playground;
    cosxl: CosXl;
    refiner: Refiner;
}

#[test]
fn sd_turbo() {
    let scheduler = TinyFamily::SdxlTurbo.scheduler();
    let model = common::family(TinyFamily::Sd2, scheduler);
    Kind::of(model.packed(Form::Plain)).every_task();
}

#[test]
fn taesd() {
    Kind::with_taesd(TinyFamily::Sd1).every_task();
}

#[test]
fn taesdxl() {
    Kind::with_taesd(TinyFamily::Sdxl).every_task();
}

/// Nothing is nearer than the rest in it, and it has no span to divide by.
#[test]
fn a_depth_map_of_one_depth_is_refused() {
    let kind = Kind::new(TinyFamily::Sd2Depth);
    let flat = Picture::plain(40, 40, [0; 3]);
    let mut asked = kind.asked();
    asked.condition.depth = Some(kind.files.write("black.png", &flat));
    let error = run(&asked, &kind.model, &Disk::default(), None, &mut Quiet);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("black.png") && error.contains("every depth of this one is the same"),
        "{error}"
    );
}

/// `low_res_scheduler` of a folder noises the small picture, and an index says whether an empty negative prompt is zeros.
#[test]
fn what_a_folder_states_acts() {
    let folder = tempfile::tempdir().unwrap();
    let opened = |path: &std::path::Path| {
        let quiet = &mut |_: &'static str, _, _| {};
        let files = ModelFiles::from(path.to_owned());
        let (model, _) = Model::open(&files, &Device::flex(), DType::F32, quiet).unwrap();
        model
    };
    let replace = |path: &std::path::Path, old: &str, new: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    };
    let write = |kind| write_family(folder.path(), kind, &mut common::weights).unwrap();
    let upscaler = write(TinyFamily::Upscaler).folder;
    let usual = Kind::of(opened(&upscaler));
    let settings = upscaler.join("low_res_scheduler/scheduler_config.json");
    replace(&settings, "\"beta_end\": 0.02", "\"beta_end\": 0.2");
    let noisier = Kind::of(opened(&upscaler));
    let mut asked = Request {
        steps: 1,
        ..usual.asked()
    };
    asked.condition.noise_level = Some(350);
    assert!(differ(
        &one(&usual.model, &asked),
        &one(&noisier.model, &asked)
    ));

    let xl = write(TinyFamily::Sdxl).folder;
    assert!(opened(&xl).family.zeros_for_empty);
    let flag = "\"force_zeros_for_empty_prompt\": ";
    let index = xl.join("model_index.json");
    replace(&index, &format!("{flag}true"), &format!("{flag}false"));
    assert!(!opened(&xl).family.zeros_for_empty);
    // Every form keeps it.
    let mut from = xl;
    for to in ["a.safetensors", "again"] {
        let to = folder.path().join(to);
        let options = ConvertOptions {
            target: Target::of(&to).unwrap(),
            dtype: None,
            moving_average: false,
            existing: Existing::Refuse,
        };
        let (checkpoint, _) = family::open(&from, latent_checkpoint::Files::Disk).unwrap();
        convert(&checkpoint, &to, &options, &mut |_, _| {}).unwrap();
        assert_eq!(
            Checkpoint::open(&to).unwrap().zeros_for_empty(),
            Some(false)
        );
        from = to;
    }
}
