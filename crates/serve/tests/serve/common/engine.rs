//! An engine for tests: it draws at once, the same for the same request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use latent_serve::{
    Adapter, Asked, Catalogue, Convert, Drawn, Embedding, Encoded, Engine, Fault, Filter, Format,
    Memory, Model, Output, Read, Result, Sampler, Scheduler, Settled, Stop, Watch, Work,
};
use serde_json::{Map, Value, json};

/// A step takes so long.
const STEP: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub struct Fake {
    unloaded: AtomicBool,
}

impl Fake {
    pub fn was_unloaded(&self) -> bool {
        self.unloaded.load(Ordering::SeqCst)
    }
}

fn sampler(name: &str, aliases: &[&str]) -> Sampler {
    Sampler {
        name: name.into(),
        aliases: aliases.iter().map(|a| (*a).into()).collect(),
        options: Default::default(),
    }
}

fn scheduler(name: &str, label: &str) -> Scheduler {
    Scheduler {
        name: name.into(),
        label: label.into(),
        ..Scheduler::default()
    }
}

fn text(request: &Value, field: &str) -> String {
    request[field].as_str().unwrap_or_default().to_owned()
}

fn number(request: &Value, field: &str) -> u32 {
    request[field].as_u64().unwrap_or_default() as u32
}

fn infotext(request: &Value, seed: u64) -> String {
    let (negative, scheduler) = (text(request, "negative_prompt"), text(request, "scheduler"));
    let negative = match negative.is_empty() {
        true => String::new(),
        false => format!("Negative prompt: {negative}\n"),
    };
    let cfg = request["guidance"]["scale"].as_f64().unwrap_or(7.0);
    let hires = match request["hires"].as_object() {
        Some(hires) => format!(
            ", Hires upscale: {}",
            hires.get("scale").and_then(Value::as_f64).unwrap_or(2.0)
        ),
        None => String::new(),
    };
    format!(
        "{}\n{negative}Steps: {}, Sampler: {}, Schedule type: {scheduler}, CFG scale: {cfg}, Seed: {seed}, Size: {}x{}, Model: tiny{hires}, Version: fake v1",
        text(request, "prompt"),
        number(request, "steps"),
        text(request, "sampler"),
        number(request, "width"),
        number(request, "height"),
    )
}

/// Bytes that depend on everything in the request.
fn pixels(
    request: &Value,
    inputs: &latent_serve::Inputs,
    seed: u64,
    width: u32,
    height: u32,
) -> Vec<u8> {
    let mut alone = request.clone();
    for field in ["seed", "batch_size", "batch_count"] {
        alone.as_object_mut().expect("an object").remove(field);
    }
    let names: Vec<_> = inputs.keys().collect();
    let mut state = format!("{alone} {seed} {names:?}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..width * height * 3).map(|_| next()).collect()
}

pub fn encode(rgb: &[u8], width: u32, height: u32, output: Output, text: &str) -> Vec<u8> {
    let mut file = Vec::new();
    match output.format {
        Format::Png => {
            let mut encoder = png::Encoder::new(&mut file, width, height);
            encoder.set_color(match output.transparent {
                true => png::ColorType::Rgba,
                false => png::ColorType::Rgb,
            });
            if output.text && !text.is_empty() {
                encoder
                    .add_text_chunk("parameters".into(), text.into())
                    .expect("a text");
            }
            let mut writer = encoder.write_header().expect("a header");
            let with_alpha = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 0]);
            let pixels = match output.transparent {
                true => with_alpha.collect(),
                false => rgb.to_vec(),
            };
            writer.write_image_data(&pixels).expect("pixels");
        }
        format => {
            let picture = image::RgbImage::from_raw(width, height, rgb.to_vec()).expect("pixels");
            let format = match format {
                Format::Webp => image::ImageFormat::WebP,
                _ => image::ImageFormat::Jpeg,
            };
            picture
                .write_to(&mut std::io::Cursor::new(&mut file), format)
                .expect("encoded");
        }
    }
    file
}

impl Engine for Fake {
    fn version(&self) -> String {
        "fake v1".into()
    }

    fn catalogue(&self) -> Catalogue {
        let model = |name: &str, hash: &str| Model {
            name: name.into(),
            sha256: Some(hash.repeat(32)),
            family: "sd15".into(),
            size: 1,
            side: 64,
            steps: 20,
            cfg_scale: 7.0,
        };
        Catalogue {
            models: vec![model("tiny", "ab"), model("sub/other.safetensors", "cd")],
            vaes: vec!["vae.safetensors".into()],
            loras: vec![Adapter {
                name: "line".into(),
                alias: Some("Line".into()),
                metadata: Map::new(),
            }],
            embeddings: vec![Embedding {
                name: "bad".into(),
                vectors: 2,
                width: 768,
            }],
            controls: vec!["canny.safetensors".into()],
            samplers: vec![
                sampler("DPM++ 2M", &["k_dpmpp_2m"]),
                sampler("Euler a", &["k_euler_a", "euler_a", "euler_ancestral"]),
                sampler("Euler", &["k_euler", "euler"]),
                sampler("DDIM", &["ddim"]),
            ],
            schedulers: vec![
                scheduler("automatic", "Automatic"),
                scheduler("karras", "Karras"),
                Scheduler {
                    aliases: vec!["normal".into()],
                    ..scheduler("discrete", "Normal")
                },
            ],
            latent_upscalers: vec!["Latent".into(), "Latent (nearest)".into()],
            upscalers: vec!["Lanczos".into(), "Nearest".into()],
            ..Catalogue::default()
        }
    }

    fn scan(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self, asked: &Asked<'_>, seed: &mut dyn FnMut() -> u64) -> Result<Settled> {
        let mut all = json!({
            "prompt": "", "negative_prompt": "", "steps": 20, "sampler": "Euler a", "scheduler": "Automatic", "width": 64, "height": 64,
            "batch_size": 1, "batch_count": 1, "seed": null, "model": null,
        });
        let known = [
            "compat",
            "guidance",
            "start",
            "hires",
            "control",
            "clip_skip",
            "subseed",
            "subseed_strength",
            "eta",
            "s_churn",
            "s_tmin",
            "s_tmax",
            "s_noise",
            "tiling",
            "vae",
            "ensd",
            "rng",
            "loras",
            "refiner",
            "refiner_switch",
            "seed_resize_from",
            "sigmas",
            "guidance",
            "ip_adapter",
            "reference",
            "compute",
        ];
        for (field, value) in asked.request {
            if all.get(field).is_none() && !known.contains(&field.as_str()) {
                return Err(Fault::asked(
                    "field_unknown",
                    Some(field),
                    format!("{field} is no field of a request"),
                ));
            }
            all[field] = value.clone();
        }
        let range = |field: &str, most: u64| match all[field].as_u64() {
            Some(value) if (1..=most).contains(&value) => Ok(value as u32),
            _ => Err(Fault::asked(
                "field_out_of_range",
                Some(field),
                format!("{field} is {}: expected 1 to {most}", all[field]),
            )),
        };
        let (steps, width, height) = (
            range("steps", 1000)?,
            range("width", 2048)?,
            range("height", 2048)?,
        );
        let pictures = range("batch_size", 16)? * range("batch_count", 64)?;
        for field in ["image", "mask"] {
            if let Some(name) = all["start"][field]
                .as_str()
                .filter(|name| !asked.inputs.contains_key(*name))
            {
                return Err(Fault::asked(
                    "resource_unknown",
                    Some("start.image"),
                    format!("nothing is called {name}"),
                ));
            }
        }
        let catalogue = self.catalogue();
        let wanted = text(&all, "sampler").to_lowercase();
        let mut name = wanted.as_str();
        let mut ladder = text(&all, "scheduler");
        if let Some(rest) = wanted.strip_suffix(" karras") {
            (name, ladder) = (rest, "Karras".into());
        }
        let found = catalogue
            .samplers
            .iter()
            .find(|s| s.name.to_lowercase() == name || s.aliases.iter().any(|a| a == name));
        let found = found.ok_or_else(|| {
            Fault::asked(
                "name_unknown",
                Some("sampler"),
                format!("there is no sampler {wanted:?}"),
            )
        })?;
        all["sampler"] = found.name.clone().into();
        let found = catalogue.schedulers.iter().find(|s| {
            let ladder = ladder.to_lowercase();
            s.label.to_lowercase() == ladder || s.name == ladder || s.aliases.contains(&ladder)
        });
        let found = found.ok_or_else(|| {
            Fault::asked(
                "name_unknown",
                Some("scheduler"),
                format!("there is no scheduler {ladder:?}"),
            )
        })?;
        all["scheduler"] = found.label.clone().into();
        if all["seed"].is_null() {
            all["seed"] = seed().into();
        }
        let model = all["model"].as_str().unwrap_or("tiny").to_owned();
        if !catalogue.models.iter().any(|m| m.name == model) {
            return Err(Fault::asked(
                "model_unknown",
                Some("model"),
                format!("{model} does not exist"),
            ));
        }
        all["model"] = model.clone().into();
        let scale = all["hires"]
            .as_object()
            .map(|h| h.get("scale").and_then(Value::as_f64).unwrap_or(2.0))
            .unwrap_or(1.0);
        let side = |side: u32| (f64::from(side) * scale) as u32;
        Ok(Settled {
            request: all,
            model,
            pictures,
            width: side(width),
            height: side(height),
            steps,
            notes: Vec::new(),
        })
    }

    fn draw(&self, work: &Work<'_>, watch: &dyn Watch) -> Result<()> {
        let request = work.request;
        let prompt = text(request, "prompt");
        assert!(prompt != "panic", "as asked");
        if prompt == "fail" {
            return Err(Fault::failed("network_failed", "as asked"));
        }
        let (steps, first) = (
            number(request, "steps"),
            request["seed"].as_u64().unwrap_or_default(),
        );
        let scale = request["hires"]
            .as_object()
            .map(|h| h.get("scale").and_then(Value::as_f64).unwrap_or(2.0))
            .unwrap_or(1.0);
        let side = |field: &str| (f64::from(number(request, field)) * scale) as u32;
        let (width, height) = (side("width"), side("height"));
        for n in work.missing {
            watch.stage("sampling", *n);
            let mut last = false;
            for step in 0..steps {
                match watch.stop() {
                    Some(Stop::Drop) => return Ok(()),
                    Some(Stop::Keep) => {
                        last = true;
                        break;
                    }
                    Some(Stop::Skip) => break,
                    None => {}
                }
                std::thread::sleep(STEP);
                watch.step(*n, step + 1, steps);
                if watch.wants_preview() {
                    let jpeg = Output {
                        format: Format::Jpeg,
                        ..Output::default()
                    };
                    watch.preview(encode(&[128; 8 * 8 * 3], 8, 8, jpeg, ""));
                }
            }
            let seed = first + u64::from(*n);
            let told = infotext(request, seed);
            let rgb = pixels(request, work.inputs, seed, width, height);
            let mut own = request.clone();
            own["seed"] = seed.into();
            watch.picture(Drawn {
                n: *n,
                file: encode(&rgb, width, height, work.output, &told),
                width,
                height,
                seed,
                sampler: text(request, "sampler"),
                steps,
                model: text(request, "model"),
                prompt: prompt.clone(),
                negative: text(request, "negative_prompt"),
                infotext: told,
                request: own,
            })?;
            if last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read(&self, picture: &[u8]) -> Result<Read> {
        let mut read = Read::default();
        let Ok(mut reader) = png::Decoder::new(std::io::Cursor::new(picture)).read_info() else {
            return Ok(read);
        };
        let _ = reader.finish();
        let chunks = &reader.info().uncompressed_latin1_text;
        if let Some(chunk) = chunks.iter().find(|c| c.keyword == "parameters") {
            read.infotext = chunk.text.clone();
            let prompt = chunk.text.lines().next().unwrap_or_default();
            read.items.push(("Prompt".into(), prompt.into()));
            read.request.insert("prompt".into(), prompt.into());
            let last = chunk.text.lines().last().unwrap_or_default();
            for (key, value) in last.split(", ").filter_map(|pair| pair.split_once(": ")) {
                read.items.push((key.into(), value.into()));
                if key == "Steps" {
                    read.request
                        .insert("steps".into(), value.parse::<u64>().unwrap_or(0).into());
                }
            }
        }
        Ok(read)
    }

    fn convert(&self, picture: &[u8], to: &Convert) -> Result<Encoded> {
        let decoded = image::load_from_memory(picture)
            .map_err(|e| Fault::asked("picture_damaged", None, e.to_string()))?;
        let text = self.read(picture)?.infotext;
        let (width, height) = to.size.unwrap_or((decoded.width(), decoded.height()));
        let filter = match to.filter {
            Filter::Lanczos => image::imageops::FilterType::Lanczos3,
            Filter::Nearest => image::imageops::FilterType::Nearest,
        };
        let rgb = decoded
            .resize_exact(width, height, filter)
            .to_rgb8()
            .into_raw();
        Ok(Encoded {
            file: encode(&rgb, width, height, to.output, &text),
            width,
            height,
        })
    }

    fn load(&self, model: Option<&str>) -> Result<String> {
        let name = model.unwrap_or("tiny");
        let found = self.catalogue().models.into_iter().find(|m| m.name == name);
        found
            .map(|m| m.name)
            .ok_or_else(|| Fault::new("model_unknown", format!("{name} does not exist")))
    }

    fn unload(&self) {
        self.unloaded.store(true, Ordering::SeqCst);
    }

    fn loaded(&self) -> Option<String> {
        Some("tiny".into())
    }

    fn memory(&self) -> Memory {
        Memory {
            total: 100,
            free: 60,
            used: 10,
        }
    }
}
