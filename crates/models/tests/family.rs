//! The tiny golden networks of the U-Net family: every tensor of `family_networks`, to 1e-4 of its
//! norm.

mod common;

use burn::tensor::{Device, Int, Tensor};
use common::*;
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::unet::{Depths, Labels, guidance_sinusoid};
use latent_models::{
    AutoencoderConfig, AutoencoderTinyConfig, ClipTextConfig, ClipVisionConfig, Form, Given,
    GivenError, Take, UNet, UNetConfig, named,
};
use latent_testkit::{Golden, closeness};

const TOLERANCE: f64 = 1e-4;

#[test]
fn text_encoders() {
    let golden = Golden::family_networks();
    check_texts(&golden, tiny_texts(), TOLERANCE);
}

/// What is pooled is the state of the first of the largest ids, whatever layers the states are taken
/// after, and without a projection too.
#[test]
fn pooled_at_the_first_of_the_largest_ids() {
    let device = Device::flex();
    let config = ClipTextConfig {
        projection: None,
        ..tiny_texts()[2].clone()
    };
    let text = fill("text_encoder", config.init(&device));
    let ids = || Tensor::<2, Int>::from_data([[5, 49407, 9, 49407], [7, 3, 4, 2]], &device);
    let take = |skip, pooled| Take {
        skip,
        normed: true,
        pooled,
    };
    let whole = text.encode(ids(), take(0, true));
    let rows: Vec<f32> = [(0, 1), (1, 0)]
        .into_iter()
        .flat_map(|(text, at)| values(whole.states.clone().narrow(0, text, 1).narrow(1, at, 1)))
        .collect();
    for skip in 0..5 {
        let pooled = text.encode(ids(), take(skip, true)).pooled.unwrap();
        assert_eq!(pooled.dims(), [2, 32]);
        assert!(closeness(&values(pooled), &rows) < 1e-6, "{skip} left out");
    }
    assert!(text.encode(ids(), take(0, false)).pooled.is_none());
}

fn vector(vector: Tensor<2>) -> Given {
    Given {
        vector: Some(vector),
        ..Given::default()
    }
}

/// A golden case: its name, the network, size of the latent, steps, what is given beside the context.
struct Case {
    name: &'static str,
    config: UNetConfig,
    size: [usize; 2],
    steps: Vec<f32>,
    given: Given,
}

impl Case {
    fn one(
        name: &'static str,
        config: UNetConfig,
        size: [usize; 2],
        step: f32,
        given: Given,
    ) -> Self {
        Self {
            name,
            config,
            size,
            steps: vec![step],
            given,
        }
    }

    fn network(&self) -> UNet {
        self.config.validate().unwrap();
        fill("unet", self.config.init(&Device::flex()))
    }

    fn run(&self, unet: &UNet) -> Tensor<4> {
        let (config, [height, width]) = (&self.config, self.size);
        let batch = self.steps.len();
        let input = format!("{}/x", self.name);
        let x = normal(&input, [batch, config.in_channels, height, width]);
        let context = config.context.unwrap();
        let context = normal(&format!("{}/context", self.name), [batch, 77, context]);
        let t = Tensor::from_data(self.steps.as_slice(), &Device::flex());
        let given = Given {
            context: Some(context),
            ..self.given.clone()
        };
        unet.forward(x, t, given).unwrap()
    }
}

fn cases() -> Vec<Case> {
    let w = |name| Given {
        guidance: Some(normal(name, [1, 256])),
        ..Given::default()
    };
    let sd2 = |config: UNetConfig| narrowed(config, &[64, 64, 128, 64], 48);
    let xl = |config: UNetConfig| UNetConfig {
        labels: Labels::Vector(48 + 6 * 256),
        ..narrowed(config, &[32, 128, 64], 80)
    };
    let sdxl = || xl(depths(named::unet_sdxl_base(), &[1, 2]));
    let small = |config| UNetConfig {
        labels: Labels::Vector(48 + 6 * 256),
        ..narrowed(config, &[32, 64, 128], 80)
    };
    let ragged = Depths {
        down: vec![vec![], vec![2, 2], vec![3, 3]],
        up: vec![vec![], vec![2, 1, 1], vec![3, 3, 5]],
    };
    let unclip = UNetConfig {
        labels: Labels::Projection(64),
        ..sd2(named::unet_sd2_unclip_h())
    };
    let ssd1b = UNetConfig {
        depths: Some(ragged),
        ..depths(named::unet_ssd_1b(), &[2, 5])
    };
    let refiner = UNetConfig {
        labels: Labels::Vector(48 + 5 * 256),
        ..narrowed(
            depths(named::unet_sdxl_refiner(), &[2, 2]),
            &[32, 64, 128, 64],
            48,
        )
    };
    let lcm = |config| UNetConfig {
        guidance: Some(256),
        ..config
    };
    let square = || vector(sizes(48, &[1024.0, 768.0, 0.0, 16.0, 1024.0, 1024.0]));
    let levels = Tensor::from_data([[20.0f32], [349.0]], &Device::flex());
    let none = Given::default;
    let one = Case::one;
    vec![
        Case {
            steps: vec![999.0, 1.0],
            ..one("sd2", sd2(named::unet_sd2()), [16, 16], 0.0, none())
        },
        one("sd2_wide", sd2(named::unet_sd2()), [8, 24], 500.0, none()),
        one(
            "sd2_inpaint",
            sd2(named::unet_sd2_inpainting()),
            [8, 8],
            501.0,
            none(),
        ),
        one(
            "sd2_depth",
            sd2(named::unet_sd2_depth()),
            [8, 8],
            501.0,
            none(),
        ),
        one(
            "sd2_unclip",
            unclip,
            [8, 8],
            501.0,
            vector(normal("sd2_unclip/labels", [1, 64])),
        ),
        Case {
            steps: vec![999.0, 1.0],
            ..one(
                "x4",
                narrowed(named::unet_x4_upscaler(), &[32, 64, 64, 128], 48),
                [16, 16],
                0.0,
                vector(levels),
            )
        },
        one("sdxl", sdxl(), [16, 16], 501.0, square()),
        one(
            "sdxl_inpaint",
            xl(depths(named::unet_sdxl_inpainting(), &[1, 2])),
            [16, 16],
            501.0,
            square(),
        ),
        one("ssd1b", small(ssd1b), [16, 16], 501.0, square()),
        one("vega", small(named::unet_vega()), [16, 16], 501.0, square()),
        one(
            "koala",
            small(named::unet_koala_700m()),
            [16, 16],
            501.0,
            square(),
        ),
        one(
            "sdxl_wide",
            sdxl(),
            [8, 24],
            999.0,
            vector(sizes(48, &[64.0, 192.0, 8.0, 0.0, 64.0, 192.0])),
        ),
        one(
            "sdxl_lcm",
            lcm(sdxl()),
            [8, 8],
            259.0,
            Given {
                vector: Some(sizes(48, &[64.0, 64.0, 0.0, 0.0, 64.0, 64.0])),
                ..w("sdxl_lcm/w")
            },
        ),
        one(
            "refiner",
            refiner,
            [16, 16],
            201.0,
            vector(sizes(48, &[1024.0, 1024.0, 0.0, 0.0, 6.0])),
        ),
        one("lcm", lcm(tiny_unet(4)), [8, 8], 259.0, w("lcm/w")),
    ]
}

#[test]
fn unets() {
    let golden = Golden::family_networks();
    let cases = cases();
    for case in &cases {
        for unet in both(case.network(), |unet| unet.packed(Form::Plain, case.size)) {
            let name = format!("unet/{}", case.name);
            check(&golden, &name, case.run(&unet), TOLERANCE);
        }
    }
    let names = golden.names();
    let drawn = names.iter().filter(|name| name.starts_with("unet/"));
    assert_eq!(drawn.count(), cases.len());
}

#[test]
fn autoencoders() {
    let golden = Golden::family_networks();
    let image = || normal("vae/image", [1, 3, 32, 48]).clamp(-1.0, 1.0);
    let latent = || normal("vae/latent", [1, 4, 4, 6]);
    for (name, config, widths) in [
        ("vae_x4", named::autoencoder_x4_upscaler(), vec![32, 32, 64]),
        ("vae_sdxl", named::autoencoder_kl_f8(), vec![32, 32, 64, 64]),
    ] {
        let level = |channels| AutoencoderLevel {
            channels,
            attention: false,
        };
        let config = AutoencoderConfig {
            levels: widths.into_iter().map(level).collect(),
            ..config
        };
        let vae = fill("vae", config.init(&Device::flex()));
        for vae in both(vae, |vae| vae.packed(Form::Plain, [4, 6])) {
            let moments = vae.encode(image());
            check(&golden, &format!("{name}/mean"), moments.mean, TOLERANCE);
            check(
                &golden,
                &format!("{name}/logvar"),
                moments.logvar,
                TOLERANCE,
            );
            let decoded = vae.decode(latent());
            check(&golden, &format!("{name}/decoded"), decoded, TOLERANCE);
        }
    }
    for (name, width) in [("taesd_tiny", 16), ("taesd_full", 64)] {
        let config = AutoencoderTinyConfig {
            width,
            ..named::autoencoder_tiny()
        };
        config.validate().unwrap();
        let vae = fill("vae", config.init(&Device::flex()));
        for vae in both(vae, |vae| vae.packed([4, 6])) {
            check(
                &golden,
                &format!("{name}/encoded"),
                vae.encode(image()),
                TOLERANCE,
            );
            let decoded = vae.decode(latent() * 3.0);
            check(&golden, &format!("{name}/decoded"), decoded, TOLERANCE);
        }
    }
}

#[test]
fn image_encoder() {
    let golden = Golden::family_networks();
    let config = ClipVisionConfig {
        image: 32,
        patch: 8,
        width: 32,
        layers: 3,
        heads: 4,
        intermediate: 128,
        projection: 32,
        ..named::clip_h_vision()
    };
    config.validate().unwrap();
    let encoder = fill("image_encoder", config.init(&Device::flex()));
    for encoder in both(encoder, |encoder| encoder.packed()) {
        let embeds = encoder.forward(normal("image_encoder/pixels", [2, 3, 32, 32]));
        check(&golden, "image_encoder/embeds", embeds, TOLERANCE);
    }
}

#[test]
fn instruction_sets() {
    on_every_instruction_set();
}

#[test]
fn embeddings_of_sizes_and_guidance() {
    let golden = Golden::family_networks();
    let given = sizes(48, &[1024.0, 768.0, 0.0, 16.0, 1024.0, 1024.0]);
    check(&golden, "sdxl/vector", given, TOLERANCE);
    let w = guidance_sinusoid(&[7.5], 256, &Device::flex());
    check(&golden, "lcm/embedding_of_7.5", w, TOLERANCE);
}

/// Nothing that a network has a layer for can be left out, and nothing else can be given.
#[test]
fn what_is_given_is_what_the_network_takes() {
    let device = Device::flex();
    let fits = |config: &UNetConfig| Given {
        context: config
            .context
            .map(|width| Tensor::zeros([2, 5, width], &device)),
        vector: config
            .labels
            .width()
            .map(|width| Tensor::zeros([2, width], &device)),
        guidance: config
            .guidance
            .map(|width| Tensor::zeros([2, width], &device)),
    };
    let plain = UNetConfig {
        context: None,
        ..tiny_unet(4)
    };
    for config in cases().into_iter().map(|case| case.config).chain([plain]) {
        let unet = config.init(&device);
        let refused = |change: &dyn Fn(&mut Given)| {
            let mut given = fits(&config);
            change(&mut given);
            let refused = given.check(&config.interface()).unwrap_err();
            let again = unet.prepare(given).err();
            assert_eq!(again.unwrap().to_string(), refused.to_string());
            refused
        };
        fits(&config).check(&config.interface()).unwrap();
        let missing = |error| matches!(error, GivenError::Missing { .. });
        let unexpected = |error| matches!(error, GivenError::Unexpected { .. });
        let wrong = |error| matches!(error, GivenError::Shape { .. });
        match config.context {
            Some(_) => {
                assert!(missing(refused(&|g| g.context = None)));
                let narrow = || Some(Tensor::zeros([2, 5, 3], &device));
                assert!(wrong(refused(&|g| g.context = narrow())));
            }
            None => {
                let any = || Some(Tensor::zeros([2, 5, 3], &device));
                assert!(unexpected(refused(&|g| g.context = any())));
            }
        }
        let any = || Some(Tensor::zeros([2, 3], &device));
        match config.labels {
            Labels::None => assert!(unexpected(refused(&|g| g.vector = any()))),
            _ => {
                assert!(missing(refused(&|g| g.vector = None)));
                assert!(wrong(refused(&|g| g.vector = any())));
            }
        }
        match config.guidance {
            None => assert!(unexpected(refused(&|g| g.guidance = any()))),
            Some(_) => {
                assert!(missing(refused(&|g| g.guidance = None)));
                assert!(wrong(refused(&|g| g.guidance = any())));
            }
        }
        if let (Some(width), Some(_)) = (config.labels.width(), config.context) {
            let error = refused(&|g| g.vector = Some(Tensor::zeros([3, width], &device)));
            assert!(matches!(error, GivenError::Batch { .. }), "{error}");
        }
        if let Labels::Table(_) = config.labels {
            for row in [-1.0, 0.5, 1000.0, f32::NAN] {
                let error = refused(&|g| g.vector = Some(Tensor::full([2, 1], row, &device)));
                assert!(error.to_string().contains("from 0 to 999"), "{error}");
            }
        }
    }
}
