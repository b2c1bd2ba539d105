//! Golden files: outputs of the reference implementations, embedded so that tests and `latent selftest` need no file.
//!
//! `tools/reference/` draws them; what each holds is written there.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};

/// CLIP token ids of eleven prompts: JSON rows of `prompt`, `ids`, `padded`.
pub const TOKENS: &str = include_str!("../golden/tokens.json");
/// ᾱ, timesteps and σ ladders: JSON, name → numbers.
pub const SCHEDULES: &str = include_str!("../golden/schedules.json");
/// Token ids of fifteen prompts padded in both ways, `end` (49407) and `zero` (0): JSON rows.
pub const FAMILY_TOKENS: &str = include_str!("../golden/family_tokens.json");
/// Published schedulers of the U-Net family, EDM preconditioning and unusual ᾱ: JSON.
pub const FAMILY_SCHEDULES: &str = include_str!("../golden/family_schedules.json");
/// Measures of recipe pictures and features: JSON, name → number.
pub const METRICS: &str = include_str!("../golden/metrics.json");
/// What VGG16 and EfficientNet-Lite0 make of a recipe picture: JSON, name → `shape`, `norm`, `strided` sample.
pub const PERCEPTUAL: &str = include_str!("../golden/perceptual.json");

/// What A1111 leaves of 24 prompts and which networks it reads out of them: JSON rows of `prompt`, `left`, `found`.
pub const ADAPTER_PROMPTS: &str = include_str!("../golden/adapters_prompts.json");

/// Embeddings (textual inversion) as published: file name and bytes. `zeta` has three vectors, `zeta_one` one, `xl` two for
/// each of SDXL's encoders.
pub const EMBEDDINGS: [(&str, &[u8]); 6] = [
    ("zeta.pt", include_bytes!("../golden/embeddings/zeta.pt")),
    (
        "zeta_parameterdict.pt",
        include_bytes!("../golden/embeddings/zeta_parameterdict.pt"),
    ),
    ("zeta.bin", include_bytes!("../golden/embeddings/zeta.bin")),
    (
        "zeta_one.bin",
        include_bytes!("../golden/embeddings/zeta_one.bin"),
    ),
    (
        "zeta.safetensors",
        include_bytes!("../golden/embeddings/zeta.safetensors"),
    ),
    (
        "xl.safetensors",
        include_bytes!("../golden/embeddings/xl.safetensors"),
    ),
];

/// Hypernetworks as A1111's trainer writes them: file name and bytes (`tools/reference/hypernetworks.py`). `bend` is the one of
/// `adapters_guidance`; `norms` has layer norms, dropout and an activation at its end.
pub const HYPERNETWORKS: [(&str, &[u8]); 2] = [
    ("bend.pt", include_bytes!("../golden/hypernetworks/bend.pt")),
    (
        "norms.pt",
        include_bytes!("../golden/hypernetworks/norms.pt"),
    ),
];

/// One golden file: named tensors as f32, bytes among them, and text metadata.
pub struct Golden {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    metadata: HashMap<String, String>,
}

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        impl Golden {
            $($(#[$doc])* pub fn $name() -> Self { Self::parse(include_bytes!(concat!("../golden/", $file))) })*
        }
    };
}

files! {
    /// Text encoder, U-Nets and autoencoder at the tiny size.
    networks_tiny = "networks_tiny.safetensors";
    /// Strided samples of the same at the size of Stable Diffusion 1.5; metadata `shapes` and `norms` are JSON.
    networks_sd15 = "networks_sd15.safetensors";
    /// k-diffusion's samplers on an analytic denoiser.
    samplers_k = "samplers_k.safetensors";
    /// diffusers' schedulers on an analytic model.
    samplers_diffusers = "samplers_diffusers.safetensors";
    /// torch's CPU generator.
    noise = "noise.safetensors";
    /// torchsde's Brownian tree through k-diffusion; metadata `queries` and `range` are JSON.
    brownian = "brownian.safetensors";
    /// A1111's and ComfyUI's rules around k-diffusion on the tiny model: final latents; metadata `cases` is JSON.
    profiles = "profiles.safetensors";
    /// Whole pipelines of the tiny model.
    pipelines = "pipelines.safetensors";
    /// Ten AdamW steps of the tiny U-Net: `losses`, and the first step's gradients as `norm/…` and strided `grad/…`.
    training_unet = "training_unet.safetensors";
    /// The same of a class-conditional model: U-Net and table of classes together.
    training_class = "training_class.safetensors";
    /// The same of a text-conditional model: U-Net and text transformer together.
    training_text = "training_text.safetensors";
    /// Ten Adam steps of a tiny KL autoencoder and its discriminator: `losses` in rows, gradients as above under
    /// `vae/…` and `discriminator/…`, the discriminator's `running/…` statistics and what it `judged` at the end.
    training_kl = "training_kl.safetensors";
    /// The same of a tiny VQ autoencoder.
    training_vq = "training_vq.safetensors";
    /// Tiny diffusion transformers: DiT as its authors run it, PixArt-Σ with a masked text.
    networks_transformer = "networks_transformer.safetensors";
    /// Ten AdamW steps of a tiny DiT on a flow: `losses`, gradients as above by diffusers' names.
    training_transformer = "training_transformer.safetensors";
    /// Tiny networks of the U-Net family: text encoders, U-Nets, autoencoders, image encoder. In these files a key that
    /// ends in `/strided` is a sample, with `shapes` and `norms` in the metadata.
    family_networks = "family_networks.safetensors";
    /// Eighteen scheduler settings of the family on an analytic model.
    family_samplers = "family_samplers.safetensors";
    /// Pipelines of Stable Diffusion 2.x; metadata `calls` is JSON.
    family_pipelines_sd2 = "family_pipelines_sd2.safetensors";
    /// Pipelines of SDXL and its refiner.
    family_pipelines_sdxl = "family_pipelines_sdxl.safetensors";
    /// Zero terminal SNR and depth, in numbers of steps whose levels diffusers' schedulers land on.
    family_pipelines_own = "family_pipelines_own.safetensors";
    /// unCLIP from a picture and under a mask; what it is told of one and of two pictures by ComfyUI's rule; pictures as its
    /// encoder takes them.
    family_pipelines_unclip = "family_pipelines_unclip.safetensors";
    /// Few-step and EDM pipelines, the tiny autoencoder as decoder.
    family_pipelines_more = "family_pipelines_more.safetensors";
    /// LoRA and its kin on the tiny model, and on one of SDXL's shape: a call of the denoiser, text states, a pipeline's latent.
    adapters_lora = "adapters_lora.safetensors";
    /// Guidance that changes the network's inside: FreeU, PAG, SAG, and a hypernetwork.
    adapters_guidance = "adapters_guidance.safetensors";
    /// Textual inversion: `zeta` of one and of three vectors in either prompt, and SDXL's pair of two; ids of 49408 and more are
    /// the vectors in order.
    adapters_inversion = "adapters_inversion.safetensors";
    /// The tiny U-Net with the hypernetwork `norms` at strength 1 (`tools/reference/hypernetworks.py`).
    hypernetwork_norms = "hypernetwork_norms.safetensors";
    /// Reference-only attention: calls of the tiny U-Net, and a pipeline (`tools/reference/reference_only.py`).
    reference_only = "reference_only.safetensors";
    /// The tiny U-Net with IP-Adapters behind masks (`tools/reference/ip_mask.py`).
    ip_mask = "ip_mask.safetensors";
    /// OpenCV's Canny (rows of bits, most significant first), blur, resizes, and what preprocessors make of `picture`.
    adapters_preprocess = "adapters_preprocess.safetensors";
    /// A T2I-Adapter of style: `states` of a picture and their `tokens`, and walks with them (`tools/reference/style_adapter.py`).
    style_adapter = "style_adapter.safetensors";
    /// ControlNet-Union on one picture of two kinds (`tools/reference/union.py`).
    control_union = "control_union.safetensors";
    /// ControlNets: thirteen residuals, U-Nets with them, pipelines, Control-LoRA.
    adapters_control = "adapters_control.safetensors";
    /// CLIP's view of a picture; IP-Adapters and T2I-Adapters: tokens and features, U-Nets with them, pipelines.
    adapters_image = "adapters_image.safetensors";
    /// Strided samples of SDXL's U-Net at full size.
    networks_sdxl = "networks_sdxl.safetensors";
    /// The same of Stable Diffusion 2.1's.
    networks_sd21 = "networks_sd21.safetensors";
    /// The same of OpenCLIP-H, OpenCLIP-bigG and CLIP-L.
    networks_texts = "networks_texts.safetensors";
}

impl Golden {
    fn parse(bytes: &[u8]) -> Self {
        let file = SafeTensors::deserialize(bytes).expect("an embedded golden is well formed");
        let (_, header) =
            SafeTensors::read_metadata(bytes).expect("an embedded golden is well formed");
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::U8 => view.data().iter().map(|b| f32::from(*b)).collect(),
                Dtype::F32 => {
                    let numbers = view.data().chunks_exact(4);
                    let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    numbers.map(number).collect()
                }
                other => panic!("golden {name} is of {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        });
        Self {
            tensors: tensors.collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        }
    }

    /// The values of tensor `name`, row-major. Panics when the golden has none of that name: a test is wrong then.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.entry(name).1
    }

    /// The shape of tensor `name`.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.entry(name).0
    }

    /// Every tensor's name, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The metadata text stored under `key`.
    pub fn metadata(&self, key: &str) -> &str {
        &self.metadata[key]
    }

    fn entry(&self, name: &str) -> &(Vec<usize>, Vec<f32>) {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("no golden tensor `{name}`; there are {:?}", self.names()))
    }
}

/// ‖got − want‖ / ‖want‖, in f64: the tolerance of networks ("relative to the output's norm").
pub fn closeness(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "sizes differ");
    let square = |v: f64| v * v;
    let error: f64 = got
        .iter()
        .zip(want)
        .map(|(&g, &w)| square(f64::from(g) - f64::from(w)))
        .sum();
    let norm: f64 = want.iter().map(|&w| square(f64::from(w))).sum();
    if error.is_nan() {
        return f64::INFINITY;
    }
    (error / norm.max(f64::MIN_POSITIVE)).sqrt()
}

/// The largest |got − want|; infinite where either is NaN.
pub fn max_abs_difference(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "sizes differ");
    got.iter()
        .zip(want)
        .map(|(&g, &w)| (f64::from(g) - f64::from(w)).abs())
        .fold(
            0.0,
            |a, b| if b.is_nan() { f64::INFINITY } else { a.max(b) },
        )
}
