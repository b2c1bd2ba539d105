//! What acts inside a U-Net: FreeU and hypernetworks, the calls of `adapters_guidance`, and reference-only attention, to 1e-4 of
//! their norm.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::*;
use latent_models::denoiser::Output;
use latent_models::hypernetwork::{Bend, Bent, Curve};
use latent_models::unet::{Alter, Extras, FreeU, FreeUStages, Reference, References, Remembered};
use latent_models::{
    Form, Given, Hypernetwork, HypernetworkConfig, Input, ParameterError, UNet, load,
};
use latent_testkit::{Golden, closeness, recipe};

const TOLERANCE: f64 = 1e-4;

fn call(unet: &UNet, x: (&str, [usize; 4]), extras: Extras) -> Tensor<4> {
    let given = Given {
        context: Some(normal("probe/context", [1, 77, 48])),
        ..Given::default()
    };
    let given = unet.prepare(given).unwrap();
    unet.run(Input {
        x: normal(x.0, x.1),
        t: Tensor::from_floats([501.0], &Device::flex()),
        given: &given,
        alter: &Alter::Nothing,
        watch: false,
        states: None,
        extras,
    })
    .x
}

fn networks() -> [UNet; 2] {
    let unet = fill("unet", tiny_unet(4).init(&Device::flex()));
    both(unet, |unet| unet.packed(Form::Plain, [8, 8]))
}

#[test]
fn freeu() {
    let golden = Golden::adapters_guidance();
    let freeu = |stages| Extras {
        freeu: Some(FreeU {
            backbone: [1.5, 1.6],
            kept: [0.9, 0.2],
            stages,
        }),
        ..Extras::default()
    };
    for unet in networks() {
        let got = call(&unet, ("probe/x", [1, 4, 8, 8]), freeu(FreeUStages::Levels));
        check(&golden, "freeu/unet", got, TOLERANCE);
        // Not square, so that rows and columns of the lowest frequencies are told apart.
        let large = ("freeu/x", [1, 4, 32, 24]);
        let got = values(call(&unet, large, freeu(FreeUStages::Levels)));
        let sampled: Vec<f32> = got
            .iter()
            .copied()
            .step_by((got.len() / 512).max(1))
            .collect();
        let name = "freeu/unet_32x24";
        let far = closeness(&sampled, golden.values(name));
        close(name, far, TOLERANCE);
        // Without it another answer, and by widths (here none is 4 × 32 wide, and other blocks 2 × 32) another again.
        let plain = values(call(&unet, large, Extras::default()));
        let widths = values(call(&unet, large, freeu(FreeUStages::Widths)));
        assert!(closeness(&plain, &got) > 1e-3 && closeness(&widths, &got) > 1e-3);
    }
}

/// The oracle's, whose second linear layer stands behind an activation.
fn hypernetwork() -> Hypernetwork {
    let config = HypernetworkConfig {
        widths: [32, 48]
            .map(|width| Bent {
                width,
                layers: vec![2 * width, width],
            })
            .to_vec(),
        curve: Some(Curve::Relu),
        curve_at_end: false,
        norms: false,
    };
    config.validate().unwrap();
    assert_eq!(config.widths_in(&tiny_unet(4)), [32, 48]);
    let fetch = &mut |path: &str, shape: &[usize]| {
        let mut names = path.split('.');
        let pair: usize = names.nth(1).unwrap().parse().unwrap();
        let side = usize::from(names.next() == Some("values"));
        let layer: usize = names.nth(1).unwrap().parse().unwrap();
        let kind = names.nth(1).unwrap();
        let name = format!(
            "hypernetwork/{}.{side}.linear.{}.{kind}",
            config.widths[pair].width,
            2 * layer
        );
        let values = recipe::tensor_f16(&name, shape, 0);
        let values: Vec<f32> = values.into_iter().map(f32::from).collect();
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(config.init(&Device::flex()), fetch, DType::F32).unwrap()
}

#[test]
fn hypernetworks() {
    let golden = Golden::adapters_guidance();
    let network = hypernetwork();
    let x = ("probe/x", [1, 4, 8, 8]);
    for network in both(network, |network| network.packed()) {
        for unet in networks() {
            let plain = values(call(&unet, x, Extras::default()));
            let with = |strengths: &[f64]| {
                let bends = strengths.iter().map(|strength| Bend {
                    network: network.clone(),
                    strength: *strength,
                });
                call(
                    &unet.clone().with_bends(bends.collect()),
                    x,
                    Extras::default(),
                )
            };
            check(&golden, "hypernetwork_0.8/unet", with(&[0.8]), TOLERANCE);
            assert_eq!(values(with(&[0.0])), plain, "without strength");
            // The second bends what the first has bent: not the same as one of both strengths.
            let [two, one] = [with(&[0.8, 0.8]), with(&[1.6])].map(values);
            assert!(closeness(&two, &one) > 1e-5);
        }
    }
}

/// A call of two rows, the first of a negative prompt.
fn pair(unet: &UNet, x: Tensor<4>, extras: Extras, alter: &Alter) -> Output {
    let given = Given {
        context: Some(normal("reference/contexts", [2, 77, 48])),
        ..Given::default()
    };
    let given = unet.prepare(given).unwrap();
    unet.run(Input {
        x,
        t: Tensor::from_floats([501.0, 501.0], &Device::flex()),
        given: &given,
        alter,
        watch: false,
        states: None,
        extras,
    })
}

/// Of sixteen blocks the widest ones, in the order in which they are computed: of levels of 32, 64 and 64, and a middle of 96.
fn first(mut states: Remembered, count: usize) -> Remembered {
    let width = |block: &Option<Tensor<3>>| block.as_ref().unwrap().dims()[2];
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by_key(|block| std::cmp::Reverse(width(&states[*block])));
    for block in order.into_iter().skip(count) {
        states[block] = None;
    }
    states
}

#[test]
fn references() {
    let golden = Golden::reference_only();
    for unet in networks() {
        let seen = |name: &str| {
            let x = normal::<4>(name, [1, 4, 8, 8]).repeat_dim(0, 2);
            let extras = Extras {
                remember: true,
                ..Extras::default()
            };
            pair(&unet, x, extras, &Alter::Nothing).remembered
        };
        let (a, b) = (seen("reference/a"), seen("reference/b"));
        assert_eq!(a.len(), 16);
        let one = |states: &Remembered, count, fidelity| Reference {
            states: first(states.clone(), count),
            fidelity,
        };
        let with = |all: Vec<Reference>, alter: &Alter| {
            let references = References {
                all,
                alone: vec![true, false],
            };
            let extras = Extras {
                references: Some(references),
                ..Extras::default()
            };
            pair(&unet, normal("reference/x", [2, 4, 8, 8]), extras, alter).x
        };
        for (name, all) in [
            ("half", vec![one(&a, 16, 0.5)]),
            ("whole", vec![one(&a, 16, 1.0)]),
            ("none", vec![one(&a, 16, 0.0)]),
            // Of those whose rank is below 0.4 of sixteen.
            ("some", vec![one(&a, 7, 0.5)]),
            ("two", vec![one(&a, 16, 0.2), one(&b, 8, 0.8)]),
        ] {
            let got = with(all, &Alter::Nothing);
            check(&golden, &format!("unet/{name}"), got, TOLERANCE);
        }
        // A block that is left out passes its own by, so that those after it look at theirs.
        let skip = Alter::Skip(vec!["mid".parse().unwrap()]);
        let mut without = a.clone();
        without[6] = None;
        let [all, less] = [a.clone(), without].map(|states| {
            let reference = Reference {
                states,
                fidelity: 0.5,
            };
            values(with(vec![reference], &skip))
        });
        assert_eq!(all, less);
    }
}
