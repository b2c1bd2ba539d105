//! Flags of other programs that are known and refused.

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

/// Why, by the flags it holds for. A flag that ends in `=` takes a value.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "motion modules make video, which is not part of this version",
        &["motion-module="],
    ),
    (
        "LoRAs are merged into the weights as they are read, whatever type these are computed in",
        &["lora-apply-mode="],
    ),
    (
        "pictures for --control are given as the network reads them",
        &["canny"],
    ),
    (
        "these are not part of this version; pictures as prompts are (--ip-adapter)",
        &["photo-maker=", "pulid-weights=", "ref-image="],
    ),
    (
        "this version runs Stable Diffusion 1.x, which has no such part",
        &[
            "clip-g=",
            "t5xxl=",
            "llm=",
            "llm-vision=",
            "high-noise-diffusion-model=",
            "audio-vae=",
            "guidance=",
            "img-cfg-scale=",
            "flow-shift=",
            "timestep-shift=",
        ],
    ),
    (
        "the U-Net is read from --model: give a whole checkpoint or a diffusers folder",
        &["diffusion-model=", "uncond-diffusion-model="],
    ),
    (
        "give the file of a tiny autoencoder to --vae, which then makes the pictures, or to --preview-vae, which makes previews alone",
        &["taesd=", "tae=", "taesd-preview-only"],
    ),
    (
        "network upscalers are not part of this version; --hires-upscaler has the built-in ones",
        &[
            "upscale-model=",
            "upscale-repeats=",
            "upscale-tile-size=",
            "hires-upscalers-dir=",
        ],
    ),
    (
        "video is not part of this version",
        &["video-frames=", "fps=", "end-img="],
    ),
    (
        "memory is planned by the program: -v prints the plan, --vae-tiling and --dtype change it",
        &[
            "max-vram=",
            "stream-layers",
            "offload-to-cpu",
            "auto-fit",
            "eager-load",
            "split-mode=",
            "params-backend=",
            "clip-on-cpu",
            "vae-on-cpu",
            "control-net-cpu",
            "rpc-servers=",
        ],
    ),
    (
        "decoder tiles overlap by as much as hides their seams",
        &["vae-tile-overlap=", "vae-tile-size="],
    ),
    (
        "this program chooses its kernels itself",
        &[
            "fa",
            "diffusion-fa",
            "diffusion-conv-direct",
            "vae-conv-direct",
        ],
    ),
    (
        "a cache changes the picture; this program draws it whole",
        &["cache-mode=", "cache-option=", "scm-mask=", "scm-policy="],
    ),
    (
        "the second pass takes a ladder from --hires-steps and --scheduler",
        &["hires-sigmas="],
    ),
    (
        "all noise comes from one generator: --rng",
        &["sampler-rng="],
    ),
    (
        "what the model predicts is read from the checkpoint and its configuration",
        &["vae-format="],
    ),
    (
        "the network's configuration is read from the checkpoint",
        &["config=", "laion400m", "model-args=", "tensor-type-rules="],
    ),
    (
        "to start several pictures from the same noise, give each run the same --seed",
        &["fixed-code"],
    ),
    (
        "this program writes no sheet of metadata beside the picture; `latent info PICTURE --json` prints it",
        &[
            "metadata-format=",
            "metadata-raw",
            "metadata-brief",
            "metadata-all",
        ],
    ),
    (
        "importance matrices belong to quantised weights, which this version does not write",
        &["imat-in=", "imat-out="],
    ),
    (
        "detail passes are not part of this version; use --mask with --only-masked",
        &["ad-model=", "ad-prompt=", "extra-ad-args="],
    ),
    (
        "extra sampler arguments have flags of their own here: --eta, --s-churn, --s-noise",
        &["extra-sample-args="],
    ),
];

/// Adds the flags, hidden, so that clap knows whether a value follows.
pub fn declare(mut command: Command) -> Command {
    for flag in REFUSED.iter().flat_map(|(_, flags)| *flags) {
        let name = flag.trim_end_matches('=');
        let action = if flag.ends_with('=') {
            ArgAction::Append
        } else {
            ArgAction::SetTrue
        };
        let arg = Arg::new(name).long(name).hide(true).action(action);
        command = command.arg(match flag.ends_with('=') {
            true => arg.num_args(0..=1).allow_hyphen_values(true),
            false => arg,
        });
    }
    command
}

/// The first refused flag that was typed, as a sentence.
pub fn check(matches: &ArgMatches) -> Result<(), String> {
    for (reason, flags) in REFUSED {
        for flag in *flags {
            let name = flag.trim_end_matches('=');
            if matches.value_source(name) == Some(ValueSource::CommandLine) {
                return Err(format!("--{name} cannot be honoured: {reason}"));
            }
        }
    }
    Ok(())
}
