//! Which modules the adapters of the goldens change.

use latent_checkpoint::Role;

use super::made::{Adapter, Site, adapter};

type Plan = Vec<(Site, &'static str, usize)>;

fn ends(path: &str, words: &[&str]) -> bool {
    words.iter().any(|word| path.ends_with(word))
}

const PROJECTIONS: [&str; 4] = [".to_q", ".to_k", ".to_v", ".to_out.0"];
const OF_TEXT: [&str; 4] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
];

fn attention(path: &str) -> bool {
    let first = path.contains("attentions.0.") && ends(path, &PROJECTIONS);
    let last = path.contains("up_blocks.3.attentions.2") && path.ends_with("attn2.to_k");
    first || last || ends(path, &OF_TEXT)
}

fn linear(path: &str) -> bool {
    let blocks = [
        "down_blocks.1.attentions.",
        "mid_block.attentions.",
        "up_blocks.2.attentions.",
    ];
    let own = [
        "proj_in",
        "proj_out",
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "ff.net.0.proj",
        "ff.net.2",
    ];
    let block = blocks.iter().any(|block| path.starts_with(block));
    (block && ends(path, &own)) || ends(path, &OF_TEXT) || ends(path, &["mlp.fc1", "mlp.fc2"])
}

fn of_xl(path: &str) -> bool {
    let own = [
        "attn2.to_k",
        "attn2.to_v",
        "attn1.to_out.0",
        "ff.net.0.proj",
    ];
    let text = ["self_attn.q_proj", "self_attn.v_proj", "mlp.fc2"];
    let projection = path.contains("attentions.") && path.ends_with(".proj_in");
    ends(path, &own) || ends(path, &text) || projection
}

const BLOCK: &str = "lora_unet_down_blocks_0_attentions_0_";

fn lines() -> [String; 7] {
    [
        format!("{BLOCK}transformer_blocks_0_attn1_to_q"),
        format!("{BLOCK}transformer_blocks_0_attn2_to_k"),
        format!("{BLOCK}transformer_blocks_0_ff_net_0_proj"),
        "lora_unet_mid_block_attentions_0_proj_in".into(),
        "lora_te_text_model_encoder_layers_1_mlp_fc1".into(),
        "lora_unet_down_blocks_1_resnets_0_time_emb_proj".into(),
        "lora_unet_time_embedding_linear_2".into(),
    ]
}

const CONVS: [&str; 4] = [
    "lora_unet_down_blocks_0_downsamplers_0_conv",
    "lora_unet_up_blocks_1_upsamplers_0_conv",
    "lora_unet_mid_block_resnets_1_conv2",
    "lora_unet_down_blocks_1_resnets_0_conv_shortcut",
];
const ENDS: [&str; 2] = ["lora_unet_conv_in", "lora_unet_conv_out"];

/// The adapter of that name.
pub fn named(name: &str, sites: &[Site]) -> Adapter {
    let matching = |fits: fn(&str) -> bool, kind, rank| -> Plan {
        let found = sites.iter().filter(|site| fits(&site.path));
        found.map(|site| (site.clone(), kind, rank)).collect()
    };
    let site = |name: &str| {
        let found = sites.iter().find(|site| site.name == name);
        found.unwrap_or_else(|| panic!("no module {name}")).clone()
    };
    let lines = lines();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let threes = &CONVS[..3];
    let norms = [
        "lora_unet_down_blocks_0_resnets_0_norm1".to_owned(),
        format!("{BLOCK}transformer_blocks_0_norm2"),
        "lora_unet_conv_norm_out".into(),
        "lora_te_text_model_encoder_layers_0_layer_norm1".into(),
        "lora_te_text_model_final_layer_norm".into(),
    ];
    let norms: Vec<&str> = norms.iter().map(String::as_str).collect();
    let each = |groups: &[(&[&str], &'static str, usize)]| -> Plan {
        let modules = groups.iter().flat_map(|(names, kind, rank)| {
            names
                .iter()
                .map(|name| (site(name), *kind, *rank))
                .collect::<Vec<_>>()
        });
        modules.collect()
    };
    let plan = match name {
        "attention" => matching(attention, "lora", 2),
        "linear" => matching(linear, "lora", 3),
        "xl" => matching(of_xl, "lora", 2),
        "locon" => each(&[(&lines, "lora", 2), (&CONVS, "lora", 2), (&ENDS, "lora", 2)]),
        "locon_mid" => each(&[(threes, "mid", 2), (&ENDS, "mid", 2), (&lines, "lora", 2)]),
        "loha" => each(&[(&lines, "loha", 2), (&CONVS, "loha", 2)]),
        "loha_tucker" => each(&[(threes, "loha_tucker", 2)]),
        "lokr" => each(&[
            (&lines[..2], "lokr", 2),
            (&threes[..1], "lokr", 2),
            (&lines[2..], "lokr_low", 2),
            (&threes[1..], "lokr_low", 2),
        ]),
        "lokr_both" => each(&[(&lines[..3], "lokr_both", 1), (threes, "lokr_both", 1)]),
        "lokr_tucker" => each(&[(threes, "lokr_tucker", 2)]),
        "full" => each(&[
            (&lines[..4], "full", 1),
            (&threes[..1], "full", 1),
            (&ENDS, "full", 1),
        ]),
        "norm" => each(&[(&norms, "norm", 1)]),
        "dora" => each(&[(&lines, "dora", 2), (&CONVS, "dora", 2)]),
        "dora_in" => each(&[(&lines, "dora_in", 2), (&CONVS, "dora_in", 2)]),
        "oft" => each(&[(&lines[..3], "oft", 4), (&threes[..1], "oft", 4)]),
        "oft_rescaled" => each(&[
            (&lines[..3], "oft_rescaled", 4),
            (&threes[..1], "oft_rescaled", 4),
        ]),
        "boft" => each(&[(&lines[..2], "boft", 8), (&threes[..1], "boft", 8)]),
        "glora" => each(&[(&lines, "glora", 2), (threes, "glora", 2)]),
        "ia3" => each(&[
            (&lines[..2], "ia3", 1),
            (&threes[..1], "ia3", 1),
            (&lines[2..4], "ia3_in", 1),
        ]),
        other => panic!("no adapter {other}"),
    };
    assert!(plan.iter().any(|(site, ..)| site.role == Role::DENOISER));
    adapter(name, &plan)
}

/// All that are in kohya's names, of Stable Diffusion 1.
pub const NAMES: [&str; 18] = [
    "attention",
    "linear",
    "locon",
    "locon_mid",
    "loha",
    "loha_tucker",
    "lokr",
    "lokr_both",
    "lokr_tucker",
    "full",
    "norm",
    "dora",
    "dora_in",
    "oft",
    "oft_rescaled",
    "boft",
    "glora",
    "ia3",
];
