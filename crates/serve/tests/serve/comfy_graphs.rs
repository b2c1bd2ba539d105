//! Which graphs are requests of latent's, and how others are refused.

use crate::comfy::{graph, request, send, upload};
use crate::common::{Running, png, start, start_with};
use serde_json::{Value, json};

async fn paused() -> Running {
    start_with(|c| c.paused = true).await
}

/// Adds nodes, and links an input.
fn with(mut graph: Value, nodes: Value, links: &[(&str, &str, Value)]) -> Value {
    let all = graph.as_object_mut().expect("nodes");
    all.extend(nodes.as_object().expect("nodes").clone());
    for (node, input, value) in links {
        graph[*node]["inputs"][*input] = value.clone();
    }
    graph
}

/// The reason, the node and the input of a refusal.
async fn refused(server: &Running, graph: &Value) -> (String, String, String) {
    let told = send(server, graph).await.expect(400);
    let nodes = told["node_errors"].as_object().expect("errors of nodes");
    let Some((node, errors)) = nodes.iter().next() else {
        return (
            told["error"]["type"].as_str().expect("a type").into(),
            String::new(),
            String::new(),
        );
    };
    let error = &errors["errors"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert!(
        !text(&error["details"]).is_empty() && errors["class_type"].is_string(),
        "{told}"
    );
    (
        text(&error["type"]),
        node.clone(),
        text(&error["extra_info"]["input_name"]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_nodes_are_named() {
    let server = paused().await;
    let custom = json!({"12": {"class_type": "FaceDetailer", "inputs": {}, "_meta": {"title": "Better faces"}}});
    let told = send(&server, &with(graph(), custom, &[])).await.expect(400);
    assert_eq!(told["error"]["type"], "missing_node_type");
    assert_eq!(
        told["error"]["extra_info"],
        json!({"node_id": "12", "class_type": "FaceDetailer", "node_title": "Better faces"})
    );
    assert_eq!(told["node_errors"]["12"]["class_type"], "FaceDetailer");
    let details = told["error"]["details"].as_str().expect("details");
    assert!(
        details.contains("#12") && details.contains("FaceDetailer"),
        "{details}"
    );
    let jobs = server.get("/api/v1/jobs").await.expect(200);
    assert_eq!(jobs["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_at_its_node() {
    let server = paused().await;
    let cases = [
        ("3", "latent_image", json!(["99", 0]), "bad_linked_input"),
        ("3", "latent_image", json!(["5", 1]), "bad_linked_input"),
        ("3", "model", json!("tiny"), "bad_linked_input"),
        ("3", "model", json!(["6", 0]), "return_type_mismatch"),
        ("3", "steps", json!("many"), "invalid_input_type"),
        ("3", "steps", json!(0), "value_smaller_than_min"),
        ("3", "sampler_name", json!("sorcery"), "value_not_in_list"),
        ("3", "scheduler", json!("sorcery"), "value_not_in_list"),
        ("3", "denoise", json!(0.5), "custom_validation_failed"),
        ("3", "seed", json!(null), "required_input_missing"),
        ("4", "ckpt_name", json!("other.ckpt"), "value_not_in_list"),
        ("5", "width", json!(1 << 20), "custom_validation_failed"),
        ("6", "text", json!(7), "invalid_input_type"),
    ];
    for (node, input, value, kind) in cases {
        let told = refused(
            &server,
            &with(graph(), json!({}), &[(node, input, value.clone())]),
        )
        .await;
        assert_eq!(
            told,
            (kind.into(), node.into(), input.into()),
            "{input}: {value}"
        );
    }
    let mut silent = graph();
    silent.as_object_mut().expect("nodes").remove("9");
    assert_eq!(refused(&server, &silent).await.0, "prompt_no_outputs");
    for nothing in [json!({}), json!([]), json!(null), json!("x")] {
        assert_eq!(refused(&server, &nothing).await.0, "no_prompt");
    }
    let ring = with(
        graph(),
        json!({"2": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["2", 0], "lora_name": "line", "strength_model": 1}}}),
        &[("3", "model", json!(["2", 0]))],
    );
    assert_eq!(refused(&server, &ring).await.0, "custom_validation_failed");
    let many: serde_json::Map<_, _> = (0..300)
        .map(|n| (n.to_string(), graph()["5"].clone()))
        .collect();
    assert_eq!(
        refused(&server, &Value::Object(many)).await.0,
        "invalid_prompt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn loras_the_layer_and_another_autoencoder() {
    let server = paused().await;
    let nodes = json!({
        "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0], "clip": ["4", 1], "lora_name": "line.safetensors", "strength_model": 0.8, "strength_clip": 0.5}},
        "11": {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["10", 1], "stop_at_clip_layer": -2}},
        "12": {"class_type": "VAELoader", "inputs": {"vae_name": "vae.safetensors"}},
    });
    let links = [
        ("3", "model", json!(["10", 0])),
        ("6", "clip", json!(["11", 0])),
        ("7", "clip", json!(["11", 0])),
        ("8", "vae", json!(["12", 0])),
    ];
    let whole = with(graph(), nodes, &links);
    let found = request(&server, &whole).await;
    assert_eq!(
        found["loras"],
        json!([{"name": "line", "strength": 0.8, "text_strength": 0.5}])
    );
    assert_eq!(
        (&found["clip_skip"], &found["vae"]),
        (&json!(-2), &json!("vae.safetensors"))
    );
    // A text encoder without the LoRA.
    let apart = with(whole.clone(), json!({}), &[("11", "clip", json!(["4", 1]))]);
    assert_eq!(
        request(&server, &apart).await["loras"][0]["text_strength"],
        0.0
    );
    let halves = with(whole, json!({}), &[("7", "clip", json!(["4", 1]))]);
    assert_eq!(refused(&server, &halves).await.1, "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_passes_are_one_request() {
    let server = paused().await;
    let nodes = json!({
        "10": {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["3", 0], "upscale_method": "nearest-exact", "scale_by": 1.5}},
        "11": {"class_type": "KSampler", "inputs": {
            "model": ["4", 0], "seed": 28, "steps": 5, "cfg": 6.5, "sampler_name": "ddim", "scheduler": "normal",
            "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["10", 0], "denoise": 0.6}},
    });
    let two = with(graph(), nodes, &[("8", "samples", json!(["11", 0]))]);
    let hires = request(&server, &two).await["hires"].clone();
    let expected = json!({"upscaler": "Latent (nearest-exact)", "steps": 5, "denoising_strength": 0.6, "sampler": "ddim", "scheduler": "normal", "scale": 1.5});
    assert_eq!(hires, expected);
    // By pixels, to a size.
    let nodes = json!({
        "12": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "13": {"class_type": "ImageScale", "inputs": {"image": ["12", 0], "upscale_method": "bicubic", "width": 128, "height": 256, "crop": "disabled"}},
        "14": {"class_type": "VAEEncode", "inputs": {"pixels": ["13", 0], "vae": ["4", 2]}},
    });
    let pixels = with(
        two.clone(),
        nodes,
        &[("11", "latent_image", json!(["14", 0]))],
    );
    let hires = request(&server, &pixels).await["hires"].clone();
    assert_eq!(
        (&hires["upscaler"], &hires["width"], &hires["height"]),
        (&json!("Bicubic"), &json!(128), &json!(256))
    );
    for (input, value) in [("seed", json!(29)), ("cfg", json!(7))] {
        let other = with(two.clone(), json!({}), &[("11", input, value)]);
        assert_eq!(
            refused(&server, &other).await,
            ("custom_validation_failed".into(), "11".into(), input.into())
        );
    }
    let stretched = with(pixels, json!({}), &[("13", "height", json!(128))]);
    assert_eq!(refused(&server, &stretched).await.1, "13");
    let third = with(
        two.clone(),
        json!({
            "20": {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["11", 0], "upscale_method": "bilinear", "scale_by": 1.5}},
            "21": two["11"],
        }),
        &[
            ("21", "latent_image", json!(["20", 0])),
            ("8", "samples", json!(["21", 0])),
        ],
    );
    assert_eq!(refused(&server, &third).await.0, "custom_validation_failed");
    let method = with(
        two,
        json!({}),
        &[("10", "upscale_method", json!("bislerp"))],
    );
    assert_eq!(
        refused(&server, &method).await,
        (
            "value_not_in_list".into(),
            "10".into(),
            "upscale_method".into()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advanced_sampler_that_draws_to_the_end() {
    let server = paused().await;
    let own = json!({"3": {"class_type": "KSamplerAdvanced", "inputs": {
        "model": ["4", 0], "add_noise": "enable", "noise_seed": 9, "steps": 20, "cfg": 6.5, "sampler_name": "euler_a", "scheduler": "karras",
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], "start_at_step": 0, "end_at_step": 10000,
        "return_with_leftover_noise": "disable"}}});
    let whole = with(graph(), own, &[]);
    let found = request(&server, &whole).await;
    assert_eq!((&found["seed"], &found["steps"]), (&json!(9), &json!(20)));
    upload(&server, "a.png", &png(64, 64), &[])
        .await
        .expect(200);
    let nodes = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}},
    });
    let late = with(
        whole.clone(),
        nodes,
        &[
            ("3", "latent_image", json!(["2", 0])),
            ("3", "start_at_step", json!(8)),
        ],
    );
    let found = request(&server, &late).await;
    assert_eq!(
        (&found["steps"], &found["start"]["strength"]),
        (&json!(12), &json!(0.6))
    );
    for (input, value) in [
        ("end_at_step", json!(10)),
        ("return_with_leftover_noise", json!("enable")),
        ("add_noise", json!("disable")),
    ] {
        let part = with(whole.clone(), json!({}), &[("3", input, value)]);
        assert_eq!(refused(&server, &part).await.1, "3", "{input}");
    }
}

/// A picture whose left half is transparent.
fn half(side: u32) -> Vec<u8> {
    let picture = image::RgbaImage::from_fn(side, side, |x, _| {
        image::Rgba([200, 10, 30, if x < side / 2 { 0 } else { 255 }])
    });
    let mut file = Vec::new();
    picture
        .write_to(
            &mut std::io::Cursor::new(&mut file),
            image::ImageFormat::Png,
        )
        .expect("encoded");
    file
}

/// The pixels of a picture that a request names.
async fn input(server: &Running, name: &Value) -> image::RgbImage {
    let path = server.folder().join("store/inputs");
    let name = name.as_str().expect("a name");
    let file = std::fs::read(path.join(&name[..2]).join(name)).expect("a file");
    image::load_from_memory(&file).expect("a picture").to_rgb8()
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_are_made_as_the_nodes_make_them() {
    let server = paused().await;
    upload(&server, "a.png", &half(64), &[]).await.expect(200);
    let nodes = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "VAEEncodeForInpaint", "inputs": {"pixels": ["1", 0], "vae": ["4", 2], "mask": ["1", 1], "grow_mask_by": 6}},
    });
    let inpaint = with(graph(), nodes, &[("3", "latent_image", json!(["2", 0]))]);
    let start = request(&server, &inpaint).await["start"].clone();
    assert_eq!(
        (&start["strength"], &start["mask_blur"]),
        (&json!(1.0), &json!(0))
    );
    let (picture, mask) = (
        input(&server, &start["image"]).await,
        input(&server, &start["mask"]).await,
    );
    let row = |picture: &image::RgbImage, at: &[u32]| -> Vec<u8> {
        at.iter().map(|x| picture.get_pixel(*x, 9).0[0]).collect()
    };
    assert_eq!(row(&picture, &[0, 31, 32, 63]), [128, 128, 200, 200]);
    assert_eq!(row(&mask, &[0, 31, 34, 35, 63]), [255, 255, 255, 0, 0]);
    // A mask of its own, upon a picture that stays as it is.
    let mut grey = image::GrayImage::new(32, 32);
    grey.put_pixel(3, 3, image::Luma([255]));
    let mut file = Vec::new();
    grey.write_to(
        &mut std::io::Cursor::new(&mut file),
        image::ImageFormat::Png,
    )
    .expect("encoded");
    upload(&server, "m.png", &file, &[]).await.expect(200);
    let nodes = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}},
        "10": {"class_type": "LoadImageMask", "inputs": {"image": "m.png", "channel": "red"}},
        "11": {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["2", 0], "mask": ["10", 0]}},
    });
    let masked = with(
        graph(),
        nodes,
        &[
            ("3", "latent_image", json!(["11", 0])),
            ("3", "denoise", json!(0.7)),
        ],
    );
    let start = request(&server, &masked).await["start"].clone();
    let (picture, mask) = (
        input(&server, &start["image"]).await,
        input(&server, &start["mask"]).await,
    );
    assert_eq!(
        row(&picture, &[0, 63]),
        [200, 200],
        "transparency is dropped"
    );
    assert_eq!(mask.dimensions(), (64, 64));
    assert!(mask.get_pixel(7, 7).0[0] > 100 && mask.get_pixel(20, 20).0[0] == 0);
    // Nothing to draw anew.
    upload(&server, "o.png", &png(64, 64), &[])
        .await
        .expect(200);
    let empty = with(inpaint, json!({}), &[("1", "image", json!("o.png"))]);
    assert_eq!(
        refused(&server, &empty).await,
        (
            "custom_validation_failed".into(),
            "1".into(),
            "image".into()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_scaled_and_cut_to_whole_latents() {
    let server = paused().await;
    upload(&server, "a.png", &png(100, 51), &[])
        .await
        .expect(200);
    let nodes = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}},
        "10": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "lanczos", "width": 128, "height": 128, "crop": "center"}},
        "11": {"class_type": "ImageScaleBy", "inputs": {"image": ["10", 0], "upscale_method": "area", "scale_by": 0.5}},
    });
    let plain = with(graph(), nodes, &[("3", "latent_image", json!(["2", 0]))]);
    let size = async |graph: &Value| {
        let found = request(&server, graph).await;
        let picture = input(&server, &found["start"]["image"]).await;
        assert_eq!(
            json!([found["width"], found["height"]]),
            json!([picture.width(), picture.height()])
        );
        picture.dimensions()
    };
    assert_eq!(size(&plain).await, (96, 48));
    for (node, expected) in [("10", (128, 128)), ("11", (64, 64))] {
        let scaled = with(
            plain.clone(),
            json!({}),
            &[("2", "pixels", json!([node, 0]))],
        );
        assert_eq!(size(&scaled).await, expected);
    }
    let huge = with(
        plain,
        json!({}),
        &[
            ("2", "pixels", json!(["10", 0])),
            ("10", "width", json!(16_000)),
        ],
    );
    assert_eq!(refused(&server, &huge).await.1, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_one_drawing() {
    let server = start().await;
    let nodes = json!({
        "10": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}},
        "11": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "12": {"class_type": "SaveImage", "inputs": {"images": ["11", 0], "filename_prefix": "x"}},
    });
    let two = with(graph(), nodes, &[]);
    assert_eq!(refused(&server, &two).await.0, "custom_validation_failed");
    let mut one = two;
    one.as_object_mut().expect("nodes").remove("12");
    let told = send(&server, &one).await.expect(200);
    let own = crate::comfy::history(&server, told["prompt_id"].as_str().expect("an id")).await;
    let names = |node: &str| own["outputs"][node]["images"][0].clone();
    assert_eq!(names("9")["filename"], names("10")["filename"]);
    assert_eq!(
        (&names("9")["type"], &names("10")["type"]),
        (&json!("output"), &json!("temp"))
    );
    // What was drawn is a picture to go on from.
    let name = names("9")["filename"].as_str().expect("a name").to_owned();
    let nodes = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": format!("{name} [output]")}},
        "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}},
    });
    let again = with(graph(), nodes, &[("3", "latent_image", json!(["2", 0]))]);
    assert_eq!(request(&server, &again).await["width"], 64);
}
