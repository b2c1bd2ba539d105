//! Tensors that are known and not used. This list is the only way for a tensor to be left unread.

const SCHEDULE: &str = "a buffer of the training schedule, computed from the β schedule";
const LOSS: &str = "the training loss (discriminator, perceptual network), not part of the model";
const POSITIONS: &str = "the indices 0, 1, 2, …, computed by the program";
const CONTRASTIVE: &str = "compares texts with pictures; pictures are not drawn with it";
const TEXT_HALF: &str =
    "the half of the picture encoder's model that reads text; the model has its own";
const EIGHT_BIT_INPUT: &str =
    "the scale of a layer's input, for programs that compute in eight bits";
const MARK: &str = "a mark that says how the model was trained; honoured, holds no weights";

/// Name patterns (`*` stands for any run of characters) with the reason.
pub const IGNORED: [(&str, &str); 53] = [
    ("*position_ids", POSITIONS),
    ("betas", SCHEDULE),
    ("alphas_cumprod", SCHEDULE),
    ("alphas_cumprod_prev", SCHEDULE),
    ("sqrt_alphas_cumprod", SCHEDULE),
    ("sqrt_one_minus_alphas_cumprod", SCHEDULE),
    ("log_one_minus_alphas_cumprod", SCHEDULE),
    ("sqrt_recip_alphas_cumprod", SCHEDULE),
    ("sqrt_recipm1_alphas_cumprod", SCHEDULE),
    ("posterior_variance", SCHEDULE),
    ("posterior_log_variance_clipped", SCHEDULE),
    ("posterior_mean_coef1", SCHEDULE),
    ("posterior_mean_coef2", SCHEDULE),
    ("lvlb_weights", SCHEDULE),
    ("logvar", "a weight of the training loss by timestep"),
    ("denoiser.sigmas", SCHEDULE),
    ("denoiser.*.sigmas", SCHEDULE),
    ("model.denoiser.sigmas", SCHEDULE),
    ("sigmas", SCHEDULE),
    ("log_sigmas", SCHEDULE),
    ("scale_factor", "the latent scale; read by the detection"),
    ("model_ema.decay", "bookkeeping of the moving average"),
    ("model_ema.num_updates", "bookkeeping of the moving average"),
    (
        "model_ema.*",
        "the moving average of the U-Net; the plain weights were asked for",
    ),
    (
        "first_stage_model.model_ema.*",
        "a moving average from the autoencoder's training",
    ),
    ("loss.*", LOSS),
    ("first_stage_model.loss.*", LOSS),
    (
        "first_stage_model.colorize",
        "a picture of the training log",
    ),
    ("colorize", "a picture of the training log"),
    ("*logit_scale", CONTRASTIVE),
    ("vision_model.*", CONTRASTIVE),
    ("visual_projection.weight", CONTRASTIVE),
    ("cond_stage_model.transformer.vision_model.*", CONTRASTIVE),
    (
        "cond_stage_model.transformer.visual_projection.weight",
        CONTRASTIVE,
    ),
    ("*attn_mask", "the causal mask, computed by the program"),
    ("v_pred", MARK),
    ("ztsnr", MARK),
    ("edm_mean", MARK),
    ("edm_std", MARK),
    ("edm_vpred.sigma_max", MARK),
    ("edm_vpred.sigma_min", MARK),
    (
        "*scaled_fp8",
        "a mark that weights of eight bits have scales; they are read with them",
    ),
    (
        "*.comfy_quant",
        "how a weight is stored; read from its type",
    ),
    ("*.input_scale", EIGHT_BIT_INPUT),
    ("*.scale_input", EIGHT_BIT_INPUT),
    ("embedder.model.ln_final.*", TEXT_HALF),
    ("embedder.model.positional_embedding", TEXT_HALF),
    ("embedder.model.text_projection", TEXT_HALF),
    ("embedder.model.token_embedding.weight", TEXT_HALF),
    ("embedder.model.transformer.*", TEXT_HALF),
    ("noise_augmentor.*", SCHEDULE),
    ("low_scale_model.*", SCHEDULE),
    (
        "depth_model.*",
        "a depth estimator; the depth map is given as a picture",
    ),
];

/// Why the tensor `name` (with its prefix) is left unread; `None` when it must be used.
pub fn ignored(name: &str) -> Option<&'static str> {
    let row = IGNORED.iter().find(|(pattern, _)| matches(pattern, name));
    row.map(|&(_, reason)| reason)
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    (0..=name.len())
        .filter(|&i| name.is_char_boundary(i))
        .any(|i| matches(rest, &name[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        assert!(matches("a*c", "abc") && matches("a*c", "ac") && matches("*", ""));
        assert!(!matches("a*c", "abcd") && !matches("a", "ab") && !matches("a*", "ba"));
        assert!(matches("é*ü", "éöü"));
    }

    #[test]
    fn weights_are_never_ignored() {
        for name in [
            "model.diffusion_model.out.2.weight",
            "first_stage_model.decoder.conv_in.weight",
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            "something.unknown",
        ] {
            assert_eq!(ignored(name), None, "{name}");
        }
    }

    #[test]
    fn training_leftovers_are_known() {
        for name in [
            "cond_stage_model.transformer.text_model.embeddings.position_ids",
            "model_ema.diffusion_modelinput_blocks00weight",
            "loss.discriminator.main.0.weight",
            "log_one_minus_alphas_cumprod",
            "cond_stage_model.logit_scale",
        ] {
            assert!(ignored(name).is_some(), "{name}");
        }
    }
}
