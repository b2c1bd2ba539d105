//! A1111's interface.

use crate::common::{Running, png, start};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

pub fn small(more: Value) -> Value {
    let mut body = json!({"prompt": "a red apple", "steps": 2, "width": 16, "height": 16, "seed": 42, "sampler_name": "Euler a"});
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    body
}

async fn txt2img(server: &Running, more: Value) -> (Value, Value) {
    let answer = server
        .post("/sdapi/v1/txt2img", &small(more))
        .await
        .expect(200);
    let info = serde_json::from_str(answer["info"].as_str().expect("a text")).expect("JSON");
    (answer, info)
}

pub fn picture(value: &Value) -> Vec<u8> {
    BASE64_STANDARD
        .decode(value.as_str().expect("a text"))
        .expect("base64")
}

pub fn b64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_its_info_and_the_echo() {
    let server = start().await;
    let (answer, info) = txt2img(&server, json!({"negative_prompt": "blurry"})).await;
    assert_eq!(answer["images"].as_array().map(Vec::len), Some(1));
    assert!(picture(&answer["images"][0]).starts_with(b"\x89PNG"));
    for key in "prompt all_prompts negative_prompt all_negative_prompts seed all_seeds subseed all_subseeds subseed_strength width height sampler_name cfg_scale steps batch_size restore_faces face_restoration_model sd_model_name sd_model_hash sd_vae_name sd_vae_hash seed_resize_from_w seed_resize_from_h denoising_strength extra_generation_params index_of_first_image infotexts styles job_timestamp clip_skip is_using_inpainting_conditioning version".split(' ') {
        assert!(info.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&info["seed"], &info["all_seeds"], &info["sampler_name"]),
        (&json!(42), &json!([42]), &json!("Euler a"))
    );
    assert_eq!(
        (&info["sd_model_name"], &info["sd_model_hash"]),
        (&json!("tiny"), &json!("ababababab"))
    );
    let echo = &answer["parameters"];
    assert_eq!(
        (&echo["steps"], &echo["sampler_index"], &echo["cfg_scale"]),
        (&json!(2), &json!("Euler"), &json!(7.0))
    );
    assert!(echo.get("override_settings").is_some());
    let text = info["infotexts"][0].as_str().expect("a text");
    let read = server
        .post("/sdapi/v1/png-info", &json!({"image": answer["images"][0]}))
        .await
        .expect(200);
    assert_eq!(
        (read["info"].as_str(), &read["parameters"]["Seed"]),
        (Some(text), &json!("42"))
    );
    let nothing = server
        .post(
            "/sdapi/v1/png-info",
            &json!({"image": format!("data:image/png;base64,{}", b64(&png(8, 8)))}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&nothing["info"], &nothing["items"]),
        (&json!(""), &json!({}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_batches_and_grids() {
    let server = start().await;
    let (four, info) = txt2img(&server, json!({"seed": 100, "batch_size": 2, "n_iter": 2})).await;
    assert_eq!(
        (&info["all_seeds"], &info["index_of_first_image"]),
        (&json!([100, 101, 102, 103]), &json!(0))
    );
    let (alone, _) = txt2img(&server, json!({"seed": 103})).await;
    assert_eq!(alone["images"][0], four["images"][3]);
    let (drawn, info) = txt2img(&server, json!({"seed": -1})).await;
    assert!(
        info["seed"].as_i64().is_some_and(|seed| seed >= 0) && drawn["parameters"]["seed"] == -1
    );
    let (with_grid, info) = txt2img(&server, json!({"n_iter": 2, "save_images": true})).await;
    assert_eq!(
        (
            with_grid["images"].as_array().map(Vec::len),
            &info["index_of_first_image"]
        ),
        (Some(3), &json!(1))
    );
    assert_eq!(info["infotexts"].as_array().map(Vec::len), Some(3));
    let (none, _) = txt2img(&server, json!({"send_images": false})).await;
    assert_eq!(none["images"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn habits_of_clients() {
    let server = start().await;
    // webuiapi's whole body, numbers as texts, aiyabot's half steps, SillyTavern's own keys.
    let (_, info) = txt2img(&server, json!({
        "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "scheduler": "automatic", "sampler_index": "Euler a", "styles": [],
        "seed_resize_from_h": 0, "seed_resize_from_w": 0, "restore_faces": false, "tiling": false, "script_name": null, "script_args": [],
        "alwayson_scripts": {}, "override_settings": {}, "hr_upscaler": "Latent", "cfg_scale": "7.0", "steps": 2.5, "url": "http://x", "auth": "a:b",
        "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0, "subseed": -1, "subseed_strength": 0.0, "comments": null,
    })).await;
    assert_eq!(
        (&info["steps"], &info["cfg_scale"]),
        (&json!(2), &json!(7.0))
    );
    let (_, info) = txt2img(
        &server,
        json!({"sampler_name": "DPM++ 2M Karras", "scheduler": null}),
    )
    .await;
    assert!(
        info["infotexts"][0]
            .as_str()
            .is_some_and(|text| text.contains("Karras"))
    );
    let (_, info) = txt2img(
        &server,
        json!({"sampler_name": null, "sampler_index": "DDIM"}),
    )
    .await;
    assert_eq!(info["sampler_name"], "DDIM");
    let (big, info) = txt2img(
        &server,
        json!({"enable_hr": true, "hr_upscaler": "Latent", "hr_scale": 2}),
    )
    .await;
    let size = image::load_from_memory(&picture(&big["images"][0])).expect("a picture");
    assert_eq!((size.width(), size.height()), (32, 32));
    assert!(
        info["infotexts"][0]
            .as_str()
            .is_some_and(|text| text.contains("Hires upscale: 2"))
    );
    let (_, info) = txt2img(&server, json!({"override_settings": {"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "other"}})).await;
    assert_eq!(info["clip_skip"], 2);
    let (jpeg, _) = txt2img(
        &server,
        json!({"override_settings": {"samples_format": "jpg"}}),
    )
    .await;
    assert!(picture(&jpeg["images"][0]).starts_with(b"\xFF\xD8"));
    let (_, info) = txt2img(
        &server,
        json!({"prompt": "x <sd_cpp_extra_args>{\"seed\": 9}</sd_cpp_extra_args>"}),
    )
    .await;
    assert_eq!((&info["seed"], &info["prompt"]), (&json!(9), &json!("x")));
    // Open WebUI changes one option and sends all of them; its header is empty while no key is set.
    let mut options = server
        .send("GET", "/sdapi/v1/options", &[("authorization", "")], b"")
        .await
        .expect(200);
    let titles = server.get("/sdapi/v1/sd-models").await.expect(200);
    assert_eq!(options["sd_model_checkpoint"], titles[0]["title"]);
    options["sd_model_checkpoint"] = titles[1]["title"].clone();
    assert_eq!(
        server.post("/sdapi/v1/options", &options).await.expect(200),
        Value::Null
    );
    let now = server.get("/sdapi/v1/options").await.expect(200);
    assert_eq!(
        now["sd_model_checkpoint"],
        "sub/other.safetensors [cdcdcdcdcd]"
    );
    assert_eq!(
        now["CLIP_stop_at_last_layers"], 1,
        "an override outlived its request"
    );
    // aiyabot reads two choices of the page, and the flag for a login of the page.
    let config = server.get("/config").await.expect(200);
    let choices = config["components"].as_array().expect("components").iter();
    let choices: Vec<_> = choices.map(|component| &component["props"]).collect();
    assert_eq!(
        choices[0],
        &json!({"elem_id": "setting_sd_lora", "choices": ["", "line"]})
    );
    assert_eq!(choices[1]["elem_id"], "txt2img_hr_upscaler");
    assert_eq!(choices[1]["choices"][0], "Latent");
    let flags = server.get("/sdapi/v1/cmd-flags").await.expect(200);
    assert_eq!(flags.get("gradio_auth"), Some(&json!(null)));
    assert_eq!(server.send("HEAD", "/", &[], b"").await.status, 200);
    server.get("/sdapi/v1/version").await.expect(404);
    // The Photoshop plugin, which asks who is there, and writes a number as it comes.
    assert_eq!(server.get("/user").await.expect(200), json!(null));
    server
        .post("/sdapi/v1/options", &json!({"inpainting_mask_weight": 1}))
        .await
        .expect(200);
    server
        .post("/sdapi/v1/options", &json!({"inpainting_mask_weight": 0.5}))
        .await
        .expect(422);
    assert_eq!(
        server.get("/controlnet/model_list").await.expect(200)["model_list"],
        json!(["canny.safetensors"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_picture_and_its_mask() {
    let server = start().await;
    let img2img = async |more: Value| server.post("/sdapi/v1/img2img", &small(more)).await;
    let given = b64(&png(16, 16));
    let answer = img2img(json!({"init_images": [given], "denoising_strength": 0.2}))
        .await
        .expect(200);
    assert_eq!(
        (
            &answer["parameters"]["init_images"],
            &answer["parameters"]["denoising_strength"]
        ),
        (&Value::Null, &json!(0.2))
    );
    let info: Value = serde_json::from_str(answer["info"].as_str().expect("a text")).expect("JSON");
    assert_eq!(info["denoising_strength"], 0.2);
    let masked = img2img(json!({"init_images": [format!("data:image/png;base64,{given}")], "mask": given, "mask_blur": 0, "inpainting_fill": 1, "inpainting_mask_invert": 1})).await;
    let masked = masked.expect(200);
    assert_ne!(masked["images"], answer["images"]);
    let kept = img2img(json!({"init_images": [given], "include_init_images": true}))
        .await
        .expect(200);
    assert_eq!(kept["parameters"]["init_images"], json!([given]));
    let unit = |model: &str, module: &str| json!({"init_images": [given], "alwayson_scripts": {"ControlNet": {"args": [{"model": model, "module": module, "image": given, "control_mode": 1, "resize_mode": "Crop and Resize"}]}}});
    img2img(unit("canny [12345678]", "none")).await.expect(200);
    for refused in [
        unit("none such", "none"),
        unit("canny", "openpose"),
        json!({"init_images": [given], "mask": given, "inpainting_fill": 9}),
        json!({"init_images": [given, given]}),
    ] {
        img2img(refused).await.expect(422);
    }
    assert_eq!(
        img2img(json!({})).await.expect(404)["detail"],
        "Init image not found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let server = start().await;
    for (more, status, word) in [
        (json!({"steps": "many"}), 422, "steps"),
        (json!({"steps": 1_000_000_000}), 422, "steps"),
        (json!({"width": 1 << 20, "height": 1 << 20}), 422, "width"),
        (json!({"sampler_name": "no such sampler"}), 400, "sampler"),
        (json!({"scheduler": "no such ladder"}), 400, "scheduler"),
        (json!({"script_name": "x/y/z plot"}), 422, "script_name"),
        (
            json!({"alwayson_scripts": {"ADetailer": {"args": []}}}),
            422,
            "ADetailer",
        ),
        (json!({"restore_faces": true}), 422, "restore_faces"),
        (json!({"s_min_uncond": 1.0}), 422, "s_min_uncond"),
        (
            json!({"enable_hr": true, "hr_checkpoint_name": "other"}),
            422,
            "hr_checkpoint_name",
        ),
        (json!({"styles": ["none"]}), 422, "styles"),
        (json!({"n_iter": 0}), 422, "n_iter"),
        (
            json!({"override_settings": {"sd_model_checkpoint": "none"}}),
            404,
            "none",
        ),
    ] {
        let answer = server.post("/sdapi/v1/txt2img", &small(more.clone())).await;
        let body = answer.expect(status);
        assert!(
            body.get("detail").is_some() && answer.text().contains(word),
            "{more}: {body}"
        );
    }
    let body = server
        .post("/sdapi/v1/txt2img", &json!({"steps": "many"}))
        .await
        .expect(422);
    assert_eq!(body["detail"][0]["loc"], json!(["body", "steps"]));
    server
        .post("/sdapi/v1/options", &json!({"no_such_option": 1}))
        .await
        .expect(422);
    server
        .post("/sdapi/v1/options", &json!({"sd_model_checkpoint": "none"}))
        .await
        .expect(404);
    server
        .post("/sdapi/v1/interrogate", &json!({"image": ""}))
        .await
        .expect(404);
    server
        .post("/sdapi/v1/train/embedding", &json!({}))
        .await
        .expect(501);
    server.get("/sdapi/v1/nothing").await.expect(404);
    server
        .post("/controlnet/detect", &json!({"controlnet_module": "canny"}))
        .await
        .expect(501);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists() {
    let server = start().await;
    for (path, keys) in [
        ("samplers", "name aliases options"),
        (
            "schedulers",
            "name label aliases default_rho need_inner_model",
        ),
        ("upscalers", "name model_name model_path model_url scale"),
        ("sd-models", "title model_name hash sha256 filename config"),
        ("sd-vae", "model_name filename"),
        ("latent-upscale-modes", "name"),
        ("loras", "name alias path metadata"),
        ("hypernetworks", ""),
        ("prompt-styles", ""),
        ("face-restorers", ""),
        ("realesrgan-models", ""),
        ("script-info", "name is_alwayson is_img2img args"),
    ] {
        let list = server.get(&format!("/sdapi/v1/{path}")).await.expect(200);
        let list = list
            .as_array()
            .unwrap_or_else(|| panic!("{path} is no list"));
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            assert!(
                !list.is_empty() && list.iter().all(|entry| entry.get(key).is_some()),
                "{path}: {key}"
            );
        }
    }
    assert_eq!(
        server.get("/sdapi/v1/upscalers").await.expect(200)[0]["name"],
        "None"
    );
    assert!(server.get("/sdapi/v1/embeddings").await.expect(200)["loaded"]["bad"].is_object());
    let memory = server.get("/sdapi/v1/memory").await.expect(200);
    assert!(memory["ram"]["total"] == 100 && memory["cuda"].is_object());
    assert!(
        server
            .get("/sdapi/v1/cmd-flags")
            .await
            .expect(200)
            .is_object()
    );
    assert_eq!(server.get("/internal/ping").await.expect(200), json!({}));
    for path in [
        "refresh-checkpoints",
        "refresh-vae",
        "refresh-loras",
        "refresh-embeddings",
        "skip",
    ] {
        assert_eq!(
            server
                .send("POST", &format!("/sdapi/v1/{path}"), &[], b"")
                .await
                .expect(200),
            Value::Null,
            "{path}"
        );
    }
    for path in ["interrupt", "unload-checkpoint", "reload-checkpoint"] {
        assert_eq!(
            server
                .send("POST", &format!("/sdapi/v1/{path}"), &[], b"")
                .await
                .expect(200),
            json!({}),
            "{path}"
        );
    }
}
