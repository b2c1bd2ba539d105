//! Packing leaves no layer out.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use common::*;
use latent_models::transformer::{Modulation, Positions};
use latent_models::unet::{Labels, Projection, Resample};
use latent_models::walk::{Layer, Layers};
use latent_models::{
    AutoencoderConfig, AutoencoderTinyConfig, ClipTextConfig, ClipVisionConfig, Form,
    TransformerConfig, UNetConfig, named, parameters,
};

/// The weights of linear layers and convolutions as burn shows them: it knows nothing of the walk.
#[derive(Default)]
struct Weights {
    /// Field and type of what holds it, outermost first.
    within: Vec<(String, String)>,
    /// By their paths without the last name, and whether they still lie in their parameters.
    found: Vec<(String, bool)>,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.within.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.within.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (last, path) = self.within.split_last().unwrap();
        let holder = last.1.as_str();
        if last.0 == "weight" && ["Struct:Linear", "Struct:Conv2d"].contains(&holder) {
            let names = path.iter().filter(|(_, c)| !c.starts_with("Enum:"));
            let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
            self.found.push((names.join("."), param.is_initialized()));
        }
    }
}

fn weights<N: Module>(network: &N) -> Vec<(String, bool)> {
    let mut weights = Weights::default();
    network.visit(&mut weights);
    weights.found
}

/// Every weight that burn sees is walked to under its name, and none is left after packing.
fn check<N: Module + Layers>(what: &str, network: N, packed: impl FnOnce(N) -> N) {
    let mut network = fill("network", network);
    let before = weights(&network);
    // So that the test cannot pass by finding nothing: all parameters of rank 2 and 4 but tables.
    let table = |name: &str| {
        let rows = name.ends_with("embedding.weight") && !name.contains("patch");
        rows || name.ends_with("_table.weight") || name.ends_with("_table")
    };
    let parameters = parameters(&network);
    let large = parameters.iter().filter(|(name, shape)| {
        shape.len() > 1 && !table(name) && !name.starts_with("class_embedding.weight")
    });
    assert_eq!(before.len(), large.count(), "{what}");
    assert!(before.iter().all(|(_, held)| *held), "{what}");
    let mut walked = Vec::new();
    network.each_layer(&mut |path, layer| {
        let shape = match layer {
            Layer::Linear(linear) => linear.weight.dims().to_vec(),
            Layer::Conv(conv) => conv.weight.dims().to_vec(),
        };
        assert!(
            parameters.contains(&(format!("{path}.weight"), shape)),
            "{path}"
        );
        walked.push(path.to_owned());
    });
    let mut seen: Vec<String> = before.into_iter().map(|(path, _)| path).collect();
    seen.sort();
    walked.sort();
    assert_eq!(walked, seen, "{what}");
    let left = weights(&packed(network));
    let left: Vec<_> = left.iter().filter(|(_, held)| *held).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

#[test]
fn no_layer_of_any_network_is_left_out() {
    let device = Device::flex();
    let unet = |what, change: &dyn Fn(UNetConfig) -> UNetConfig| {
        let config = change(tiny_unet(4));
        config.validate().unwrap();
        for form in [Form::Plain, Form::Int8] {
            check(what, config.init(&device), |unet| unet.packed(form, [8, 8]));
        }
    };
    unet("U-Net", &|c| c);
    unet("U-Net with linear projections", &|c| UNetConfig {
        projection: Projection::Linear,
        ..c
    });
    unet("U-Net with a vector", &|c| UNetConfig {
        labels: Labels::Vector(10),
        guidance: Some(6),
        context_only_levels: vec![1],
        ..c
    });
    unet("U-Net with a table", &|c| UNetConfig {
        labels: Labels::Table(10),
        middle: None,
        middle_resblocks: 1,
        ..c
    });
    unet("U-Net with a projection", &|c| UNetConfig {
        labels: Labels::Projection(10),
        ..c
    });
    unet("U-Net without context", &|c| UNetConfig {
        context: None,
        resample: Resample::Resnet,
        ..c
    });
    for modulation in [Modulation::Shared, Modulation::PerBlock] {
        for labels in [Labels::Table(10), Labels::Vector(10)] {
            let config = TransformerConfig {
                in_channels: 3,
                out_channels: 3,
                patch: 2,
                width: 16,
                depth: 3,
                heads: 2,
                context: Some(12),
                context_every: 2,
                context_projection: true,
                labels,
                modulation,
                positions: Positions::Counted,
                qk_norm: true,
            };
            config.validate().unwrap();
            for form in [Form::Plain, Form::Int8] {
                check("transformer", config.init(&device), |net| net.packed(form));
            }
        }
    }
    for (what, config) in [
        ("KL autoencoder", tiny_autoencoder()),
        (
            "VQ autoencoder with attention",
            AutoencoderConfig {
                levels: tiny_autoencoder()
                    .levels
                    .into_iter()
                    .map(|level| latent_models::autoencoder::AutoencoderLevel {
                        attention: true,
                        ..level
                    })
                    .collect(),
                double_z: false,
                codebook: Some(8),
                ..tiny_autoencoder()
            },
        ),
    ] {
        check(what, config.init(&device), |vae| {
            vae.packed(Form::Int8, [8, 8])
        });
    }
    let tiny = AutoencoderTinyConfig {
        width: 8,
        ..named::autoencoder_tiny()
    };
    check("tiny autoencoder", tiny.init(&device), |vae| {
        vae.packed([8, 8])
    });
    let text = ClipTextConfig {
        vocabulary: 50,
        projection: Some(24),
        ..tiny_text()
    };
    check("text encoder", text.init(&device), |text| text.packed());
    let vision = ClipVisionConfig {
        image: 16,
        patch: 8,
        width: 8,
        layers: 2,
        heads: 2,
        intermediate: 16,
        projection: 4,
        ..named::clip_l_vision()
    };
    check("image encoder", vision.init(&device), |vision| {
        vision.packed()
    });
}
