//! The diffusion transformer: goldens of DiT and PixArt-Σ, published parameter counts, gradients.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::training::{AdamW, check_gradients, gradients, number};
use common::*;
use latent_models::transformer::{Modulation, Positions};
use latent_models::unet::Labels;
use latent_models::{
    Form, Given, GivenError, ParameterError, Transformer, TransformerConfig, load, parameter_count,
    parameters,
};
use latent_testkit::{Golden, closeness, recipe};

/// What the oracle allows in f32; the exact GELU in the place of tanh-GELU would be 7e-5 off.
const TOLERANCE: f64 = 2e-5;

/// DiT of this width, depth and number of heads; it predicts variances too.
fn dit(width: usize, depth: usize, heads: usize, patch: usize) -> TransformerConfig {
    TransformerConfig {
        in_channels: 4,
        out_channels: 8,
        patch,
        width,
        depth,
        heads,
        context: None,
        context_every: 1,
        context_projection: false,
        labels: Labels::Table(1001),
        modulation: Modulation::PerBlock,
        positions: Positions::Counted,
        qk_norm: false,
    }
}

/// PixArt without micro-conditions, of this width, depth and number of heads, that reads text states of width `text`.
fn pixart(width: usize, depth: usize, heads: usize, text: usize) -> TransformerConfig {
    TransformerConfig {
        context: Some(text),
        context_projection: true,
        labels: Labels::None,
        modulation: Modulation::Shared,
        positions: Positions::Stretched(32),
        ..dit(width, depth, heads, 2)
    }
}

/// What no published model has all of: attention on words in every second block, a pooled text, normed queries and keys.
fn own() -> TransformerConfig {
    TransformerConfig {
        in_channels: 3,
        out_channels: 3,
        context: Some(12),
        context_every: 2,
        labels: Labels::Vector(10),
        modulation: Modulation::Shared,
        qk_norm: true,
        ..dit(16, 3, 2, 2)
    }
}

/// diffusers' names of a parameter, several where it is stacked of them.
fn theirs(ours: &str, modulation: Modulation) -> Vec<String> {
    let (layer, kind) = ours.rsplit_once('.').unwrap();
    let per_block = modulation == Modulation::PerBlock;
    let embedders = match per_block {
        true => "transformer_blocks.0.norm1.emb",
        false => "adaln_single.emb",
    };
    let many = |names: &[&str], within: &str| -> Vec<String> {
        let names = names.iter();
        names.map(|name| format!("{within}{name}.{kind}")).collect()
    };
    let one = |name: &str| many(&[name], "");
    if let Some(rest) = layer.strip_prefix("blocks.") {
        let (number, layer) = rest.split_once('.').unwrap_or((rest, ""));
        let block = format!("transformer_blocks.{number}.");
        return match layer {
            "" => vec![format!("{block}scale_shift_table")],
            "adaLN_modulation.1" => many(&["norm1.linear"], &block),
            "attn.qkv" => many(&["attn1.to_q", "attn1.to_k", "attn1.to_v"], &block),
            "attn.proj" => many(&["attn1.to_out.0"], &block),
            "cross_attn.q_linear" => many(&["attn2.to_q"], &block),
            "cross_attn.kv_linear" => many(&["attn2.to_k", "attn2.to_v"], &block),
            "cross_attn.proj" => many(&["attn2.to_out.0"], &block),
            "mlp.fc1" => many(&["ff.net.0.proj"], &block),
            "mlp.fc2" => many(&["ff.net.2"], &block),
            other => panic!("{other}"),
        };
    }
    match layer {
        "x_embedder.proj" => one("pos_embed.proj"),
        "t_embedder.mlp.0" => one(&format!("{embedders}.timestep_embedder.linear_1")),
        "t_embedder.mlp.2" => one(&format!("{embedders}.timestep_embedder.linear_2")),
        "y_embedder.embedding_table" => one(&format!("{embedders}.class_embedder.embedding_table")),
        "y_embedder.y_proj.fc1" => one("caption_projection.linear_1"),
        "y_embedder.y_proj.fc2" => one("caption_projection.linear_2"),
        "t_block.1" => one("adaln_single.linear"),
        "final_layer.adaLN_modulation.1" => one("proj_out_1"),
        "final_layer.linear" if per_block => one("proj_out_2"),
        "final_layer.linear" => one("proj_out"),
        "final_layer" => vec!["scale_shift_table".to_owned()],
        other => panic!("{other}"),
    }
}

/// The network with the oracle's weights.
fn published(config: &TransformerConfig, device: &Device) -> Transformer {
    choose_instruction_set();
    config.validate().unwrap();
    let fetch = &mut |name: &str, shape: &[usize]| {
        let parts = theirs(name, config.modulation);
        let mut part = shape.to_vec();
        part[0] /= parts.len();
        let values = parts.iter().flat_map(|name| {
            let name = format!("transformer/{name}");
            recipe::tensor(&name, &part, 0)
        });
        Ok::<_, ParameterError>(TensorData::new(values.collect::<Vec<_>>(), shape.to_vec()))
    };
    load(config.init(device), fetch, DType::F32).unwrap()
}

fn times<const N: usize>(t: [f32; N]) -> Tensor<1> {
    Tensor::from_data(t, &Device::flex())
}

fn classes(classes: [f32; 2]) -> Given {
    Given {
        vector: Some(Tensor::<1>::from_data(classes, &Device::flex()).reshape([2, 1])),
        ..Given::default()
    }
}

#[test]
fn dit_is_its_authors() {
    let golden = Golden::networks_transformer();
    let network = published(&dit(48, 3, 4, 2), &Device::flex());
    for network in both(network, |network| network.packed(Form::Plain)) {
        let x = normal("dit/x", [2, 4, 8, 8]);
        let found = network.forward(x, times([999.0, 3.0]), classes([207.0, 1000.0]));
        check(&golden, "dit/square", found.unwrap(), TOLERANCE);
    }
}

#[test]
fn pixart_is_its_authors() {
    let golden = Golden::networks_transformer();
    let network = published(&pixart(48, 3, 4, 64), &Device::flex());
    let states = normal("pixart/states", [2, 20, 64]);
    for network in both(network, |network| network.packed(Form::Plain)) {
        // Words behind a text's end are not looked at, so each picture has as many as its text.
        let each = [(0, 999.0, 13), (1, 3.0, 1)].map(|(item, t, words)| {
            let x: Tensor<4> = normal("pixart/x", [2, 4, 8, 12]);
            let context = states.clone().narrow(0, item, 1).narrow(1, 0, words);
            let x = x.narrow(0, item, 1);
            network.forward(x, times([t]), looking_at(context)).unwrap()
        });
        let found = Tensor::cat(each.to_vec(), 0);
        check(&golden, "pixart/sigma", found, TOLERANCE);
    }
}

#[test]
fn eight_bits_are_near() {
    let config = TransformerConfig {
        qk_norm: false,
        ..own()
    };
    let network = fill("own", config.init(&Device::flex()));
    let run = |network: &Transformer| {
        let x = normal("x", [2, 3, 8, 12]);
        let found = network.forward(x, times([900.0, 20.0]), given());
        values(found.unwrap())
    };
    let want = run(&network);
    let plain = closeness(&run(&network.clone().packed(Form::Plain)), &want);
    assert!(plain < 1e-6, "{plain:.2e}");
    let eight = closeness(&run(&network.packed(Form::Int8)), &want);
    assert!(eight > 1e-6 && eight < 5e-2, "{eight:.2e}");
}

#[test]
fn instruction_sets() {
    on_every_instruction_set();
}

#[test]
fn published_counts() {
    let device = Device::flex();
    let counts = [
        ("S", 384, 12, 6, [32_865_056, 32_920_448, 33_142_016]),
        ("B", 768, 12, 12, [130_315_808, 130_426_496, 130_869_248]),
        ("L", 1024, 24, 16, [457_840_672, 457_988_224, 458_578_432]),
        ("XL", 1152, 28, 16, [674_834_720, 675_000_704, 675_664_640]),
    ];
    for (name, width, depth, heads, counts) in counts {
        for (patch, count) in [2, 4, 8].into_iter().zip(counts) {
            let config = dit(width, depth, heads, patch);
            config.validate().unwrap();
            let found = parameter_count(&config.init(&device));
            assert_eq!(found, count, "DiT-{name}/{patch}");
        }
    }
    let pixart = pixart(1152, 28, 16, 4096);
    assert_eq!(parameter_count(&pixart.init(&device)), 610_856_096);
}

/// The loss of step `step`: a flow's velocity at times whose logits are drawn.
fn loss(network: &Transformer, step: usize) -> Tensor<1> {
    let of = |name: &str| normal(&format!("train/{step}/{name}"), [2, 4, 8, 8]);
    let (z, eps) = (of("z"), of("eps"));
    let t: Tensor<1> = normal(&format!("train/{step}/u"), [2]);
    let t = burn::tensor::activation::sigmoid(t);
    let share: Tensor<4> = t.clone().reshape([2, 1, 1, 1]);
    let x = z.clone() * (-share.clone() + 1.0) + eps.clone() * share;
    let given = classes([((37 * step + 5) % 1000) as f32, 1000.0]);
    let found = network.forward(x, t * 1000.0, given).unwrap();
    (found - (eps - z)).square().mean()
}

#[test]
fn losses_and_gradients_of_a_flow_are_torchs() {
    let golden = Golden::training_transformer();
    let config = TransformerConfig {
        out_channels: 4,
        ..dit(48, 3, 4, 2)
    };
    let mut network = published(&config, &Device::flex().autodiff());
    let names: Vec<Vec<String>> = parameters(&network)
        .iter()
        .map(|(name, _)| theirs(name, config.modulation))
        .collect();
    let mut optimiser = AdamW::new(&network, 1e-4, 0.0);
    for (step, &want) in golden.values("losses").iter().enumerate() {
        let loss = loss(&network, step);
        let error = (number(&loss) / f64::from(want) - 1.0).abs();
        println!("loss {step}: {} {error:.2e}", number(&loss));
        assert!(error < 1e-5, "loss {step}: {error:.2e}");
        let found = gradients(&network, loss);
        if step == 0 {
            let parts: Vec<Vec<f32>> = found
                .iter()
                .zip(&names)
                .flat_map(|(gradient, names)| {
                    let part = gradient.len() / names.len();
                    gradient.chunks(part).map(<[f32]>::to_vec)
                })
                .collect();
            let names = names.iter().flatten().map(String::as_str);
            check_gradients(&golden, names.zip(&parts));
        }
        network = optimiser.step(network, found);
    }
}

fn given() -> Given {
    Given {
        context: Some(normal("context", [2, 5, 12])),
        vector: Some(normal("vector", [2, 10])),
        ..Given::default()
    }
}

/// The slope of a loss along a direction in all parameters at once, by gradients and by differences.
#[test]
fn gradients_are_slopes() {
    for config in [
        own(),
        TransformerConfig {
            modulation: Modulation::PerBlock,
            context_every: 1,
            context_projection: true,
            qk_norm: false,
            ..own()
        },
    ] {
        config.validate().unwrap();
        let device = Device::flex().autodiff();
        let shifted = |by: f32| {
            choose_instruction_set();
            let fetch = &mut |name: &str, shape: &[usize]| {
                let values = recipe::tensor(&format!("slopes/{name}"), shape, 0);
                let along = recipe::normal(&format!("along/{name}"), shape);
                let values = values.iter().zip(&along).map(|(v, d)| v + by * d);
                Ok::<_, ParameterError>(TensorData::new(values.collect::<Vec<_>>(), shape.to_vec()))
            };
            load(config.init(&device), fetch, DType::F32).unwrap()
        };
        let loss = |network: &Transformer| -> Tensor<1> {
            let x = normal("x", [2, 3, 4, 6]);
            let (found, states) = network
                .forward_seen(x, times([700.0, 30.0]), given(), Some(2))
                .unwrap();
            let states = states.expect("a block of that number");
            assert_eq!(states.dims(), [2, 16, 2, 3]);
            (found * normal("weigh", [2, 3, 4, 6])).mean()
                + (states * normal("weigh states", [2, 16, 2, 3])).mean()
        };
        let network = shifted(0.0);
        let found = gradients(&network, loss(&network));
        let slope: f64 = parameters(&network)
            .iter()
            .zip(&found)
            .map(|((name, shape), gradient)| {
                assert!(gradient.iter().any(|g| *g != 0.0), "{name} learns nothing");
                let along = recipe::normal(&format!("along/{name}"), shape);
                let products = gradient.iter().zip(&along);
                products
                    .map(|(g, d)| f64::from(*g) * f64::from(*d))
                    .sum::<f64>()
            })
            .sum();
        let step = 1e-3;
        let at = |by: f32| number(&loss(&shifted(by)));
        let difference = (at(step) - at(-step)) / (2.0 * f64::from(step));
        let error = (slope - difference).abs() / difference.abs();
        println!("{slope} {difference} {error:.2e}");
        assert!(error < 5e-3, "{slope} where differences say {difference}");
    }
}

/// What a block makes is what the next one sees: the last block's tokens decide the answer alone.
#[test]
fn states_are_those_of_their_block() {
    let network = fill("own", own().init(&Device::flex()));
    let run = |block| {
        let x = normal("x", [2, 3, 8, 4]);
        let (x, states) = network
            .forward_seen(x, times([700.0, 30.0]), given(), Some(block))
            .unwrap();
        (x, states.expect("a block of that number"))
    };
    let [first, last] = [1, 3].map(run);
    let plain = network.forward(normal("x", [2, 3, 8, 4]), times([700.0, 30.0]), given());
    let plain = values(plain.unwrap());
    assert_eq!(values(first.0), plain);
    assert_eq!(values(last.0), plain);
    assert_eq!(first.1.dims(), [2, 16, 4, 2]);
    assert!(closeness(&values(first.1), &values(last.1)) > 1e-2);
}

#[test]
fn what_is_given_is_what_the_network_takes() {
    let network = fill("own", own().init(&Device::flex()));
    let refused = |change: &dyn Fn(&mut Given)| {
        let mut given = given();
        change(&mut given);
        network.prepare(given).expect_err("an error")
    };
    assert!(network.prepare(given()).is_ok());
    let missing = |error| matches!(error, GivenError::Missing { .. });
    assert!(missing(refused(&|g| g.context = None)));
    assert!(missing(refused(&|g| g.vector = None)));
    let guidance = refused(&|g| g.guidance = Some(normal("guidance", [2, 3])));
    assert!(matches!(guidance, GivenError::Unexpected { .. }));
    let narrow = refused(&|g| g.context = Some(normal("context", [2, 5, 3])));
    assert!(matches!(narrow, GivenError::Shape { .. }));
    let dit = published(&dit(48, 3, 4, 2), &Device::flex());
    let error = dit.prepare(classes([1001.0, 0.0])).expect_err("an error");
    assert!(error.to_string().contains("0 to 1000"), "{error}");
}

#[test]
fn errors_name_the_field() {
    let refused = |change: &dyn Fn(&mut TransformerConfig)| {
        let mut config = own();
        change(&mut config);
        config.validate().unwrap_err()
    };
    own().validate().unwrap();
    for (field, error) in [
        ("in_channels", refused(&|c| c.in_channels = 0)),
        ("patch", refused(&|c| c.patch = 0)),
        ("width", refused(&|c| c.width = 18)),
        ("heads", refused(&|c| c.heads = 3)),
        ("depth", refused(&|c| c.depth = 0)),
        ("context", refused(&|c| c.context = Some(0))),
        ("context_every", refused(&|c| c.context_every = 4)),
        ("context_every", refused(&|c| c.context_every = 0)),
        ("context_every", refused(&|c| c.context = None)),
        (
            "context_projection",
            refused(&|c| {
                (c.context, c.context_every, c.context_projection) = (None, 1, true);
            }),
        ),
        ("labels", refused(&|c| c.labels = Labels::Projection(3))),
        ("labels.vector", refused(&|c| c.labels = Labels::Vector(0))),
        (
            "positions.stretched",
            refused(&|c| c.positions = Positions::Stretched(0)),
        ),
    ] {
        assert_eq!(error.field, field, "{error}");
    }
    let text = serde_json::to_string(&own()).unwrap();
    let read: TransformerConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(read, own());
    let unknown =
        r#"{"in_channels": 3, "out_channels": 3, "width": 16, "depth": 1, "heads": 2, "x": 1}"#;
    assert!(serde_json::from_str::<TransformerConfig>(unknown).is_err());
}
