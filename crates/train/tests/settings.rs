//! Every key of the settings is written down, and one that is not known is named wherever it stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use latent_data::settings::from_toml;
use latent_train::TrainConfig;
use toml::{Table, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The settings of `configs`, and others with what these leave out.
fn all() -> Vec<(String, Table)> {
    let more = r#"
        steps = 1
        batch = 1
        data = { path = "x", size = 8, columns = {}, pairs = {}, buckets = {} }
        rate = { peak = 1.0 }
        optimiser = { kind = "lion" }
        ema = { kind = "half_life", pictures = 1 }
        checkpoint = {}
        log = {}
        [model]
        kind = "stage1"
        discriminator = { channels = 8 }
        loss = { beta = 0.25 }
        revive = { every = 5 }
        [model.autoencoder]
        in_channels = 3
        out_channels = 3
        levels = [{ channels = 8 }]
        resblocks = 1
        middle_attention = false
        z_channels = 4
        latent_channels = 4
        double_z = false
        codebook = 16
    "#;
    let terms = r#"
        steps = 1
        batch = 2
        data = { path = "x", size = 8 }
        rate = { peak = 1.0 }
        [model]
        kind = "stage2"
        align = { features = "x" }
        contrast = { weight = 0.1 }
        perceptual = { levels = 1 }
        [model.unet]
        in_channels = 3
        out_channels = 3
        model_channels = 8
        levels = [{ channels = 8, resblocks = 1 }]
    "#;
    let transformer = r#"
        steps = 1
        batch = 1
        data = { path = "x", size = 8 }
        rate = { peak = 1.0 }
        [model]
        kind = "stage2"
        [model.transformer]
        in_channels = 3
        out_channels = 3
        width = 16
        depth = 1
        heads = 2
    "#;
    let texts = [
        ("more", more),
        ("terms", terms),
        ("transformer", transformer),
    ];
    let texts = texts.map(|(name, text)| (name.to_owned(), text.parse().unwrap()));
    let mut all = Vec::from(texts);
    for folder in ["configs", "configs/small", "configs/default"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                all.push((path.display().to_string(), text.parse().unwrap()));
            }
        }
    }
    all
}

/// The places of all tables within a value.
fn tables(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            found.push(path.to_owned());
            for (key, value) in table {
                tables(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                tables(value, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Table {
    let steps = path.split('/').filter(|step| !step.is_empty());
    let found = steps.fold(value, |value, step| match step.parse::<usize>() {
        Ok(index) if value.is_array() => &mut value[index],
        _ => &mut value[step],
    });
    found.as_table_mut().unwrap()
}

#[test]
fn every_key_is_written_down_and_no_other_is_taken() {
    let written = std::fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let mut known = BTreeSet::new();
    for (name, table) in all() {
        let good = Value::Table(table);
        from_toml::<TrainConfig>(&toml::to_string(&good).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut places = Vec::new();
        tables(&good, "", &mut places);
        for place in places {
            let mut bad = good.clone();
            at(&mut bad, &place).insert("zzz".to_owned(), Value::Integer(1));
            let text = toml::to_string(&bad).unwrap();
            let Err(error) = from_toml::<TrainConfig>(&text) else {
                panic!("{name}: zzz is taken in {place}");
            };
            assert!(
                error.starts_with("line ") && error.contains("zzz: "),
                "{name} {place}: {error}"
            );
            let line: usize = error["line ".len()..]
                .split(',')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            let said = text.lines().nth(line - 1).unwrap();
            assert!(
                said.contains("zzz"),
                "{name} {place}: line {line} is {said}"
            );
            let expected = error.split_once("expected").map_or("", |(_, rest)| rest);
            known.extend(expected.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    // Names from every table: the lists were read.
    for name in [
        "seed",
        "columns",
        "low",
        "ramp",
        "beta_on",
        "zero_terminal_snr",
        "head_width",
        "context_every",
    ] {
        assert!(known.contains(name), "{name}: {known:?}");
    }
    let missing: Vec<&String> = known
        .iter()
        .filter(|name| {
            !written.contains(&format!("`{name}`")) && !written.contains(&format!("\"{name}\""))
        })
        .collect();
    assert!(missing.is_empty(), "docs/settings.md lacks {missing:?}");
}

/// The path is in every error's text, as short as it is, and must be there.
#[test]
fn the_key_at_fault_is_named_and_no_other() {
    let good = r#"seed = 1
steps = 2
batch = 1
precision = "f32"
rate.peak = 1.0
rate.decay = "cosine"
ema.kind = "decay"
ema.decay = 0.9

[data]
path = "e"
size = 8

[optimiser]
kind = "adamw"

[log]
every = 1

[model]
kind = "stage2"
[model.unet]
in_channels = 3
out_channels = 3
model_channels = 8
levels = [{ channels = 8, resblocks = 1 }]
"#;
    from_toml::<TrainConfig>(good).unwrap();
    for (from, to, line, name, said) in [
        (
            "\"adamw\"",
            "\"sgd\"",
            15,
            "optimiser.kind",
            "`sgd`, expected `adamw` or `lion`",
        ),
        (
            "\"f32\"",
            "\"f16\"",
            4,
            "precision",
            "`f16`, expected `f32` or `bf16`",
        ),
        (
            "steps = 2",
            "steps = \"e\"",
            2,
            "steps",
            "\"e\", expected a whole number from 0",
        ),
        (
            "seed = 1",
            "seed = -1",
            1,
            "seed",
            "`-1`, expected a whole number from 0",
        ),
        (
            "\"cosine\"",
            "\"foo\"",
            6,
            "rate.decay",
            "`foo`, expected one of `constant`",
        ),
        (
            "\"decay\"",
            "\"foo\"",
            7,
            "ema.kind",
            "`foo`, expected one of `decay`",
        ),
        (
            "every = 1",
            "every = \"x\"",
            18,
            "log.every",
            "\"x\", expected a whole number from 0",
        ),
        (
            "size = 8",
            "size = \"big\"",
            12,
            "data.size",
            "a whole number, or a list of height and width",
        ),
        (
            "size = 8",
            "flip = \"x\"",
            12,
            "data.flip",
            "expected a number",
        ),
        (
            "out_channels = 3",
            "out_channels = \"e\"",
            24,
            "model.unet.out_channels",
            "a whole number",
        ),
        (
            "out_channels = 3",
            "",
            22,
            "model.unet",
            "missing field `out_channels`",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let error = from_toml::<TrainConfig>(&good.replacen(from, to, 1)).unwrap_err();
        assert!(
            error.starts_with(&format!("line {line}, {name}: ")) && error.contains(said),
            "{to}: {error}"
        );
    }
}
