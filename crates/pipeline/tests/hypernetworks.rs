//! Hypernetworks from files: pipelines against the golden of `adapters_guidance`, how they are asked for, what is refused.

mod common;
#[path = "common/drawing.rs"]
mod drawing;
#[path = "common/golden.rs"]
mod golden;

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_checkpoint::HypernetworkFile;
use latent_models::hypernetwork::Bend;
use latent_models::unet::{Alter, Extras};
use latent_models::{Denoiser, Given, Input};
use latent_pipeline::hypernetworks::asked;
use latent_pipeline::infotext::Infotext;
use latent_pipeline::request::{Compat, Hires, UsedHypernetwork};
use latent_pipeline::resources::{Disk, Models};
use latent_pipeline::{Model, Quiet, Request, Resources, library::Library, run};
use latent_testkit::golden::HYPERNETWORKS;
use latent_testkit::{Golden, closeness, recipe};
use tempfile::TempDir;

use common::{scheduler, tiny};

/// A folder of the published files.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in HYPERNETWORKS {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn disk(folder: &Path) -> Disk {
    Disk {
        models: Models {
            hypernetworks: Library::open_adapters(&[folder.to_owned()]).unwrap(),
            ..Models::default()
        },
    }
}

fn used(name: &str, strength: f64) -> UsedHypernetwork {
    UsedHypernetwork {
        strength,
        ..UsedHypernetwork::from(latent_pipeline::request::Name::from(name))
    }
}

fn asks(hypernetworks: Vec<UsedHypernetwork>) -> Request {
    Request {
        width: 64,
        hypernetworks,
        ..golden::request("DDIM")
    }
}

fn latent(model: &Model, request: &Request, disk: &Disk) -> Vec<f32> {
    let outputs = run(request, model, disk, None, &mut Quiet).unwrap();
    outputs[0].latent.to_data().iter::<f32>().collect()
}

#[test]
fn pipelines_with_files() {
    let folder = folder();
    let disk = disk(folder.path());
    let golden = Golden::adapters_guidance();
    let want = golden.values("hypernetwork_0.8/latent");
    let model = tiny(4, scheduler());
    let file = folder.path().join("bend.pt");
    for name in ["bend", file.to_str().unwrap()] {
        let far = closeness(&latent(&model, &asks(vec![used(name, 0.8)]), &disk), want);
        println!("{name}: {far:.2e}");
        assert!(far < 1e-4, "{far:e}");
    }
    let packed = tiny(4, scheduler()).packed(latent_models::Form::Plain);
    let far = closeness(
        &latent(&packed, &asks(vec![used("bend", 0.8)]), &disk),
        want,
    );
    assert!(far < 1e-4, "{far:e}");
    let plain = latent(&model, &asks(Vec::new()), &disk);
    assert!(closeness(&plain, want) > 1e-3);
    let none = latent(&model, &asks(vec![used("bend", 0.0)]), &disk);
    assert_eq!(none, plain);
    let two = latent(
        &model,
        &asks(vec![used("bend", 0.8), used("norms", 1.0)]),
        &disk,
    );
    assert!(closeness(&two, want) > 1e-3);
}

/// Layer norms, gaps where dropout stood, an activation at the end.
#[test]
fn a_call_with_norms() {
    let folder = folder();
    let file = HypernetworkFile::open(&folder.path().join("norms.pt")).unwrap();
    assert!(file.config().norms && file.config().curve_at_end);
    assert_eq!(file.config().widths[0].layers, [24, 48]);
    let said = file.about();
    assert_eq!(said.name.as_deref(), Some("norms"));
    assert_eq!(
        (said.steps, said.checkpoint.as_deref()),
        (Some(100), Some("tiny"))
    );
    let network = file.load(&Device::flex(), DType::F32).unwrap();
    let bend = Bend {
        network,
        strength: 1.0,
    };
    let model = tiny(4, scheduler());
    let unet = Denoiser::clone(&*model.denoiser().unwrap());
    let unet = unet.with_bends(vec![bend]);
    let tensor = |name: &str, shape: [usize; 4]| {
        Tensor::<4>::from_data(
            TensorData::new(recipe::normal(name, &shape), shape),
            &Device::flex(),
        )
    };
    let context = recipe::normal("probe/context", &[1, 77, 48]);
    let context = Tensor::from_data(TensorData::new(context, [1, 77, 48]), &Device::flex());
    let given = Given {
        context: Some(context),
        ..Given::default()
    };
    let given = unet.prepare(given).unwrap();
    let output = unet.run(Input {
        x: tensor("probe/x", [1, 4, 8, 8]),
        t: Tensor::from_floats([501.0f32], &Device::flex()),
        given: &given,
        alter: &Alter::Nothing,
        watch: false,
        states: None,
        extras: Extras::default(),
    });
    let got: Vec<f32> = output.x.into_data().iter::<f32>().collect();
    let far = closeness(&got, Golden::hypernetwork_norms().values("unet"));
    println!("norms: {far:.2e}");
    assert!(far < 1e-4, "{far:e}");
}

/// A1111 reads them out of the prompt, and writes them into it; elsewhere they stand in the table alone.
#[test]
fn prompts_and_pictures() {
    let folder = folder();
    let disk = disk(folder.path());
    let model = tiny(4, scheduler());
    let request = |compat, prompt: &str, hypernetworks| Request {
        prompt: prompt.into(),
        compat,
        ..asks(hypernetworks)
    };
    let tagged = request(Compat::A1111, "a red apple<hypernet:bend:0.8>", Vec::new());
    let table = request(Compat::A1111, "a red apple", vec![used("bend", 0.8)]);
    assert_eq!(
        latent(&model, &tagged, &disk),
        latent(&model, &table, &disk)
    );
    let drawn = run(&table, &model, &disk, None, &mut Quiet).unwrap();
    assert!(
        drawn[0]
            .infotext
            .starts_with("a red apple <hypernet:bend:0.8>\n"),
        "{}",
        drawn[0].infotext
    );
    let words = request(
        Compat::Diffusers,
        "a red apple<hypernet:bend:0.8>",
        Vec::new(),
    );
    assert_eq!(asked(&words).unwrap(), []);
    let table = request(Compat::Diffusers, "a red apple", vec![used("bend", 0.8)]);
    let drawn = run(&table, &model, &disk, None, &mut Quiet).unwrap();
    let text = &drawn[0].infotext;
    assert!(text.contains("Hypernetworks: \"bend:0.8\""), "{text}");
    let read = Infotext::parse(text).to_request();
    assert_eq!(read.request.hypernetworks, table.hypernetworks);
    // Both passes are drawn by one network.
    let hires = |prompt: &str| Request {
        hires: Some(Hires {
            prompt: Some(prompt.into()),
            ..Hires::default()
        }),
        ..tagged.clone()
    };
    let wrong = asked(&hires("a pear")).unwrap_err().to_string();
    assert!(
        wrong.contains("hires.prompt") && wrong.contains("one network"),
        "{wrong}"
    );
    assert_eq!(asked(&hires("a pear<hypernet:bend:0.8>")).unwrap().len(), 1);
}

#[test]
fn what_is_refused() {
    let folder = folder();
    let disk = disk(folder.path());
    let model = tiny(4, scheduler());
    let fails = |name: &str| {
        let result = run(
            &asks(vec![used(name, 1.0)]),
            &model,
            &disk,
            None,
            &mut Quiet,
        );
        result.unwrap_err().to_string()
    };
    // Of another width than anything that this model reads.
    let mut views = Vec::new();
    for side in [0, 1] {
        for (index, shape) in [(0, vec![8, 768]), (1, vec![768, 8])] {
            let bias = vec![shape[0]];
            views.push((format!("768.{side}.linear.{index}.weight"), shape));
            views.push((format!("768.{side}.linear.{index}.bias"), bias));
        }
    }
    let other = folder.path().join("other.safetensors");
    let zeros = vec![0u8; 4 * 8 * 768];
    let views = views.iter().map(|(name, shape)| {
        let bytes = &zeros[..4 * shape.iter().product::<usize>()];
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.as_str(), view.unwrap())
    });
    std::fs::write(&other, safetensors::serialize(views, None).unwrap()).unwrap();
    let words = fails(other.to_str().unwrap());
    for word in ["Stable Diffusion 1.x", "widths 768", "width 48"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    let missing = disk
        .check(&asks(vec![used("bent", 1.0)]))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("hypernetworks") && missing.contains("bend"),
        "{missing}"
    );
    let bad = Request {
        compat: Compat::A1111,
        prompt: "<hypernet:bend:much>".into(),
        ..asks(Vec::new())
    };
    let words = disk.check(&bad).unwrap_err().to_string();
    assert!(
        words.contains("`prompt`") && words.contains("much"),
        "{words}"
    );
    let strong = asks(vec![used("bend", 1000.0)]);
    let words = strong.validate().unwrap_err().to_string();
    assert!(words.contains("hypernetworks.strength"), "{words}");
}
