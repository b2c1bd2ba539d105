//! Differences of weights between a file and the networks: every form of file, every role, packed or not.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::convert::{ConvertOptions, Target, convert, write_file};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::tiny::{TinyFamily, TinyPaths, write_family};
use latent_checkpoint::{Checkpoint, Dtype, Role, TensorInfo};
use latent_models::Form;
use latent_pipeline::model::{AdapterUse, Calls};
use latent_pipeline::resources::Disk;
use latent_pipeline::{Model, ModelFiles, Quiet, run, run_once};
use latent_testkit::recipe;

use super::{bits, request};

/// The changed parameters: name in the file of differences, role, published name.
const CHANGED: [(&str, Role, &str); 7] = [
    (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.diff",
        Role::DENOISER,
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    ),
    (
        "lora_unet_input_blocks_1_0_in_layers_2.diff",
        Role::DENOISER,
        "down_blocks.0.resnets.0.conv1.weight",
    ),
    (
        "lora_unet_input_blocks_1_0_in_layers_2.diff_b",
        Role::DENOISER,
        "down_blocks.0.resnets.0.conv1.bias",
    ),
    (
        "diffusion_model.out.0.w_norm",
        Role::DENOISER,
        "conv_norm_out.weight",
    ),
    (
        "diffusion_model.out.0.b_norm",
        Role::DENOISER,
        "conv_norm_out.bias",
    ),
    (
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.diff",
        Role::TEXT_ENCODER,
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
    ),
    (
        "lora_te2_text_model_encoder_layers_1_self_attn_v_proj.diff_b",
        Role::TEXT_ENCODER_2,
        "text_model.encoder.layers.1.self_attn.v_proj.bias",
    ),
];
const STRENGTH: f64 = 0.5;

type Values = BTreeMap<String, Vec<f32>>;

struct Collect(Vec<Vec<f32>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data().convert::<f32>();
        self.0.push(data.try_to_vec().expect("numbers"));
    }
}

fn parameters<M: Module>(module: &M) -> Values {
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    let names = latent_models::parameters(module).into_iter();
    names.map(|(name, _)| name).zip(collect.0).collect()
}

/// Every parameter of the networks that differences reach.
fn weights(model: &Model) -> HashMap<Role, Values> {
    let texts = model.texts.iter().map(|text| {
        let network = text.network.get().expect("weights");
        (text.input.role, parameters(&*network))
    });
    let unet = parameters(&*model.denoiser().expect("weights"));
    texts.chain([(Role::DENOISER, unet)]).collect()
}

fn shape_of(checkpoint: &Checkpoint, role: Role, name: &str) -> Vec<usize> {
    let parameters = checkpoint
        .find(role)
        .expect("a network")
        .config
        .parameters();
    let found = parameters.into_iter().find(|(own, _)| own == name);
    found.expect("a parameter").1
}

/// A file of f16 differences of these names and shapes.
fn write(path: &Path, tensors: &[(&str, Vec<usize>)]) {
    let infos = tensors.iter().map(|(name, shape)| TensorInfo {
        name: (*name).to_owned(),
        dtype: Dtype::F16,
        shape: shape.clone(),
    });
    let infos: Vec<_> = infos.collect();
    let mut values = |info: &TensorInfo| {
        let values = recipe::tensor_f16(&info.name, &info.shape, 0);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok::<_, latent_checkpoint::Error>(bytes.into())
    };
    safetensors(
        path,
        &infos,
        &BTreeMap::new(),
        Existing::Replace,
        &mut values,
    )
    .expect("a file");
}

fn merged(path: &Path) -> AdapterUse {
    AdapterUse {
        name: "difference".to_owned(),
        path: path.to_owned(),
        strengths: STRENGTH.into(),
        calls: Calls::default(),
    }
}

fn open(base: &Path, difference: Option<&Path>, dtype: DType) -> latent_pipeline::Result<Model> {
    let files = ModelFiles {
        adapters: difference.map(merged).into_iter().collect(),
        ..ModelFiles::from(base.to_owned())
    };
    Ok(Model::open(&files, &Device::flex(), dtype, &mut |_, _, _| {})?.0)
}

struct Place {
    dir: tempfile::TempDir,
    base: TinyPaths,
    difference: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let base = write_family(dir.path(), TinyFamily::Sdxl, &mut |folder, name, shape| {
            recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
        });
        let base = base.expect("a model");
        let checkpoint = Checkpoint::open(&base.folder).expect("a model");
        let tensors = CHANGED.map(|(name, role, own)| (name, shape_of(&checkpoint, role, own)));
        let difference = dir.path().join("difference.safetensors");
        write(&difference, &tensors);
        Self {
            dir,
            base,
            difference,
        }
    }

    /// The model in another type.
    fn stored(&self, name: &str, dtype: Dtype) -> PathBuf {
        let path = self.dir.path().join(name);
        let options = ConvertOptions {
            target: Target::of(&path).expect("a form"),
            dtype: Some(dtype),
            moving_average: false,
            existing: Existing::Replace,
        };
        let checkpoint = Checkpoint::open(&self.base.safetensors).expect("a model");
        convert(&checkpoint, &path, &options, &mut |_, _| {}).expect("a model");
        path
    }

    /// The model with `sums` for the weights of its denoiser and text encoders.
    fn summed(&self, sums: &HashMap<Role, Values>) -> PathBuf {
        let path = self.dir.path().join("summed.safetensors");
        let mut model = TinyFamily::Sdxl.model(true);
        let mut shapes = HashMap::new();
        for part in &mut model.parts {
            let parameters = part.config.parameters();
            let names = parameters.iter().map(|(name, _)| name.clone());
            part.dtypes = names.map(|name| (name, Dtype::F32)).collect();
            let named = parameters.into_iter();
            shapes.extend(named.map(|(name, shape)| ((part.role, name), shape)));
        }
        let mut values = |role: Role, name: &str| {
            let own = || {
                let name = name.to_owned();
                recipe::tensor(
                    &format!("{}/{name}", role.folder()),
                    &shapes[&(role, name)],
                    0,
                )
            };
            let values = sums.get(&role).map_or_else(own, |sums| sums[name].clone());
            Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
        };
        let (target, existing) = (Target::Safetensors, Existing::Replace);
        write_file(&path, target, &model, existing, &mut values).expect("a file");
        path
    }

    /// Whether a parameter's values are `plain` with its difference, or `plain` where it has none.
    fn check(&self, role: Role, name: &str, plain: &[f32], patched: &[f32], case: &str) {
        let own = |(_, r, n): &&(&str, Role, &str)| *r == role && *n == name;
        let expected: Vec<f32> = match CHANGED.iter().find(own) {
            Some((file, ..)) => {
                let checkpoint = Checkpoint::open(&self.base.folder).expect("a model");
                let change = recipe::tensor(file, &shape_of(&checkpoint, role, name), 0);
                let sum = plain.iter().zip(&change);
                sum.map(|(value, change)| value + STRENGTH as f32 * change)
                    .collect()
            }
            None => plain.to_vec(),
        };
        assert!(expected == patched, "{case}: {role} {name}");
    }
}

#[test]
fn a_difference_is_added_to_what_any_file_holds() {
    let place = Place::new();
    let files = [
        place.base.folder.clone(),
        place.base.safetensors.clone(),
        place.base.ckpt.clone(),
        place.stored("bf16.safetensors", Dtype::BF16),
        place.stored("eight.safetensors", Dtype::F8E4M3),
    ];
    for file in files {
        let case = file.display().to_string();
        let plain = weights(&open(&file, None, DType::F32).expect("a model"));
        let patched = open(&file, Some(&place.difference), DType::F32).expect("a model");
        let patched = weights(&patched);
        assert_eq!(patched.len(), 3);
        for (role, values) in &plain {
            for (name, values) in values {
                place.check(*role, name, values, &patched[role][name], &case);
            }
        }
        // Rounded once, after the difference.
        let rounded = open(&file, Some(&place.difference), DType::BF16).expect("a model");
        let rounded = weights(&rounded);
        for (_, role, name) in CHANGED {
            let expected = patched[&role][name].iter();
            let expected: Vec<f32> = expected
                .map(|v| half::bf16::from_f32(*v).to_f32())
                .collect();
            assert!(rounded[&role][name] == expected, "{case}: {role} {name}");
        }
    }
}

#[test]
fn a_packed_network_draws_as_if_its_file_held_the_sum() {
    let place = Place::new();
    let patched = open(&place.base.safetensors, Some(&place.difference), DType::F32);
    let patched = patched.expect("a model");
    let sums = weights(&patched);
    let file = place.summed(&sums);
    let [summed, plain] =
        [&file, &place.base.safetensors].map(|file| open(file, None, DType::F32).expect("a model"));
    let picture = |model: &Model| {
        let drawn = run(&request(), model, &Disk::default(), None, &mut Quiet).expect("a picture");
        bits(&drawn[0])
    };
    assert!(picture(&patched) == picture(&summed));
    assert!(picture(&patched) != picture(&plain));
    let form = Form::Plain;
    assert!(picture(&patched.packed(form)) == picture(&summed.packed(form)));
    // Read when it is needed, and again.
    let files = ModelFiles {
        adapters: vec![merged(&place.difference)],
        ..ModelFiles::from(place.base.safetensors.clone())
    };
    let (lazy, _) = Model::declare(&files, &Device::flex(), DType::F32).expect("a model");
    let drawn = run_once(
        &request(),
        lazy.packed(form),
        &Disk::default(),
        None,
        &mut Quiet,
    )
    .expect("a picture");
    let again = open(&place.base.safetensors, Some(&place.difference), DType::F32);
    assert!(bits(&drawn[0]) == picture(&again.expect("a model").packed(form)));
}

#[test]
fn what_fits_nothing_is_named() {
    let place = Place::new();
    let path = place.dir.path().join("other.safetensors");
    let refused = |tensors: &[(&str, Vec<usize>)]| {
        write(&path, tensors);
        let opened = open(&place.base.safetensors, Some(&path), DType::F32);
        opened.map(|_| ()).expect_err("a misfit").to_string()
    };
    let layer = CHANGED[0].0.strip_suffix(".diff").expect("a layer");
    let weight = (CHANGED[0].0, vec![128, 80]);
    // A name of no layer, beside one that fits; and the keys of a LoRA.
    let text = refused(&[weight.clone(), ("lora_unet_nothing.diff", vec![2])]);
    assert!(text.contains("`lora_unet_nothing.diff`"), "{text}");
    assert!(text.contains("other.safetensors"), "{text}");
    let down = format!("{layer}.lora_down.weight");
    let text = refused(&[(&down, vec![4, 80])]);
    assert!(text.contains(&down), "{text}");
    // Another model's width.
    let text = refused(&[(CHANGED[0].0, vec![128, 48])]);
    assert!(
        text.contains("is [128, 48] and must be [128, 80]"),
        "{text}"
    );
    let text = refused(&[]);
    assert!(text.contains("holds no tensors"), "{text}");
    // A difference has no scale of its own; one that is written beside it says nothing.
    write(&path, &[weight, (&format!("{layer}.alpha"), vec![])]);
    open(&place.base.safetensors, Some(&path), DType::F32).expect("a model");
}
