//! Parameter counts of the published networks, without allocating one.

use burn::module::Module;
use burn::tensor::Device;
use latent_models::{ClipTextConfig, DiscriminatorConfig, named, parameter_count, parameters};

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
        ("sd2 inpainting", named::unet_sd2_inpainting(), 865_925_124),
        ("sd2 depth", named::unet_sd2_depth(), 865_913_604),
        ("sd2.1 unCLIP-H", named::unet_sd2_unclip_h(), 870_173_124),
        ("sd2.1 unCLIP-L", named::unet_sd2_unclip_l(), 869_517_764),
        ("x4 upscaler", named::unet_x4_upscaler(), 473_398_020),
        ("sdxl base", named::unet_sdxl_base(), 2_567_463_684),
        (
            "sdxl inpainting",
            named::unet_sdxl_inpainting(),
            2_567_478_084,
        ),
        ("sdxl refiner", named::unet_sdxl_refiner(), 2_259_526_660),
        ("SSD-1B", named::unet_ssd_1b(), 1_331_334_404),
        ("Vega", named::unet_vega(), 745_225_604),
        ("KOALA-700M", named::unet_koala_700m(), 782_822_724),
        ("KOALA-1B", named::unet_koala_1b(), 1_161_184_324),
        ("LCM", named::unet_lcm(), 859_602_884),
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

#[test]
fn text_encoders_have_the_published_counts() {
    let device = Device::flex();
    let folder = ClipTextConfig {
        layers: 23,
        ..named::clip_h()
    };
    for (name, config, count) in [
        ("ViT-L/14", named::clip_l(), 123_060_480),
        ("ViT-H/14", named::clip_h(), 352_984_064),
        ("ViT-H/14 in a folder", folder, 340_387_840),
        ("ViT-bigG/14", named::clip_g(), 694_659_840),
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
