//! Every published kind, on a tiny model of its shape, does each task, and what was asked counts: from text, from a picture, inside a
//! mask. What the numbers are is for goldens to say (`family`, `pipelines`).

use latent_checkpoint::tiny::TinyFamily;
use latent_models::Form;
use latent_pipeline::family::Beside;
use latent_pipeline::request::GivenPicture;
use latent_pipeline::resources::{Disk, Resources};
use latent_pipeline::{Model, Request};

use super::{Files, common, differ, one, request};

struct Kind {
    model: Model,
    files: Files,
}

impl Kind {
    fn new(kind: TinyFamily) -> Self {
        let model = common::family(kind, kind.scheduler());
        Self {
            model: model.packed(Form::Plain),
            files: Files::new(),
        }
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
    ($($name:ident: $kind:ident [$($task:ident),*];)*) => { $(
        #[test]
        fn $name() {
            let kind = Kind::new(TinyFamily::$kind);
            $(kind.$task();)*
        }
    )* };
}

kinds! {
    stable_diffusion_1: Sd1 [text_to_picture, picture_to_picture, inside_a_mask];
    stable_diffusion_1_inpainting: Sd1Inpainting [text_to_picture, picture_to_picture, inside_a_mask];
    lcm: Lcm [text_to_picture, picture_to_picture, inside_a_mask];
    stable_diffusion_2: Sd2 [text_to_picture, picture_to_picture, inside_a_mask];
    stable_diffusion_2_inpainting: Sd2Inpainting [text_to_picture, picture_to_picture, inside_a_mask];
    stable_diffusion_2_depth: Sd2Depth [text_to_picture, picture_to_picture, inside_a_mask];
    stable_diffusion_2_unclip: Sd2UnClip [text_to_picture, picture_to_picture, inside_a_mask];
    upscaler: Upscaler [text_to_picture, picture_to_picture, inside_a_mask];
    sdxl: Sdxl [text_to_picture, picture_to_picture, inside_a_mask];
    sdxl_inpainting: SdxlInpainting [text_to_picture, picture_to_picture, inside_a_mask];
    sdxl_turbo: SdxlTurbo [text_to_picture, picture_to_picture, inside_a_mask];
    sdxl_v: SdxlV [text_to_picture, picture_to_picture, inside_a_mask];
    ssd_1b: Ssd1b [text_to_picture, picture_to_picture, inside_a_mask];
    vega: Vega [text_to_picture, picture_to_picture, inside_a_mask];
    koala: Koala [text_to_picture, picture_to_picture, inside_a_mask];
    playground: Playground [text_to_picture, picture_to_picture, inside_a_mask];
    cosxl: CosXl [text_to_picture, picture_to_picture, inside_a_mask];
    refiner: Refiner [text_to_picture, picture_to_picture, inside_a_mask];
}
