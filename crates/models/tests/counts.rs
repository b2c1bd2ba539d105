//! Parameter counts of the published networks, without allocating one.

use burn::module::Module;
use burn::tensor::Device;
use latent_models::{DiscriminatorConfig, named, parameter_count, parameters};

#[test]
fn unets_have_the_published_counts() {
    let device = Device::flex();
    for (name, config, count) in [
        ("celeba", named::unet_celebahq(), 274_056_163),
        ("churches", named::unet_lsun_churches(), 294_966_916),
        ("cin vq-8", named::unet_imagenet_f8(), 394_984_196),
        ("cin256-v2", named::unet_imagenet_f4(), 400_920_579),
        ("text2img256", named::unet_text2img256(), 403_623_939),
        ("txt2img-1p4B", named::unet_txt2img_1p4b(), 872_300_484),
        ("inpainting_big", named::unet_inpainting_big(), 387_245_827),
        ("bsr_sr", named::unet_superresolution(), 113_622_563),
        ("semantic", named::unet_semantic(), 215_229_315),
        ("layout2img", named::unet_layout2img(), 246_277_379),
        ("rdm", named::unet_rdm(), 1_335_480_400),
        ("sd1", named::unet_sd1(), 859_520_964),
        ("sd2", named::unet_sd2(), 865_910_724),
        ("sdxl base", named::unet_sdxl_base(), 2_567_463_684),
        ("sdxl refiner", named::unet_sdxl_refiner(), 2_259_526_660),
    ] {
        config.validate().unwrap();
        let found = parameter_count(&config.init(&device));
        println!("{name}: {found} {:+}", found as i64 - count as i64);
        assert_eq!(found, count, "{name}");
    }
}

#[test]
fn autoencoders_have_the_published_counts() {
    let device = Device::flex();
    for (name, config, count) in [
        ("kl-f4", named::autoencoder_kl_f4(), 55_312_063),
        ("kl-f8", named::autoencoder_kl_f8(), 83_653_863),
        ("kl-f16", named::autoencoder_kl_f16(), 69_610_963),
        ("kl-f32", named::autoencoder_kl_f32(), 103_880_131),
        ("vq-f4", named::autoencoder_vq_f4(), 55_322_782),
        (
            "vq-f4-noattn",
            named::autoencoder_vq_f4_noattn(),
            53_219_486,
        ),
        ("vq-f8", named::autoencoder_vq_f8(), 67_717_295),
        ("vq-f8-n256", named::autoencoder_vq_f8_n256(), 67_652_783),
        ("vq-f16", named::autoencoder_vq_f16(), 69_593_371),
    ] {
        config.validate().unwrap();
        let found = parameter_count(&config.init(&device));
        assert_eq!(found, count, "{name}");
    }
}

/// Numbers that are trained: a normalisation's running statistics are none.
fn trained<M: Module>(module: &M) -> usize {
    let parameters = parameters(module);
    let learnt = parameters
        .iter()
        .filter(|(name, _)| !name.contains("running_"));
    learnt
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum()
}

#[test]
fn judges_have_the_published_counts() {
    let device = Device::flex();
    for (layers, count) in [(3, 2_765_633), (2, 663_361)] {
        let config = DiscriminatorConfig {
            layers,
            ..DiscriminatorConfig::default()
        };
        config.validate().unwrap();
        assert_eq!(trained(&config.init(&device)), count, "{layers} layers");
    }
    let vgg = named::vgg16();
    vgg.validate().unwrap();
    assert_eq!(trained(&vgg.init(&device)), 7_635_264);
    let efficient = named::efficientnet_lite0();
    efficient.validate().unwrap();
    assert_eq!(trained(&efficient.init(&device)), 4_652_008);
}
