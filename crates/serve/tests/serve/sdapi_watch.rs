//! A1111's interface: watching, stopping, waiting, and pictures made larger.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::common::{png, start, start_with};
use crate::sdapi::{b64, picture, small};

#[tokio::test(flavor = "multi_thread")]
async fn watching_interrupting_and_skipping() {
    let server = start().await;
    let idle = server.get("/sdapi/v1/progress").await.expect(200);
    assert_eq!(
        (
            &idle["progress"],
            &idle["state"]["job_count"],
            &idle["state"]["job"]
        ),
        (&json!(0.0), &json!(0), &json!(""))
    );
    assert!(idle.get("current_task").is_none());
    for (path, pictures) in [("interrupt", 1), ("skip", 2)] {
        let steps = if path == "skip" { 300 } else { 1000 };
        let body = small(json!({"steps": steps, "n_iter": 2, "force_task_id": "task(1)"}));
        let long = server.post("/sdapi/v1/txt2img", &body);
        let watch = async {
            let (mut last, mut preview) = (0.0, false);
            for _ in 0..1000 {
                let now = server.get("/sdapi/v1/progress").await.expect(200);
                let value = now["progress"].as_f64().expect("a number");
                assert!((last..=1.0).contains(&value), "{value} after {last}");
                last = value;
                preview |= now["current_image"].is_string();
                if preview && now["state"]["sampling_step"].as_u64() > Some(2) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(preview, "no preview");
            let task = server
                .post(
                    "/internal/progress",
                    &json!({"id_task": "task(1)", "id_live_preview": -1}),
                )
                .await
                .expect(200);
            assert_eq!(
                (&task["active"], &task["completed"]),
                (&json!(true), &json!(false))
            );
            assert!(
                task["live_preview"]
                    .as_str()
                    .is_some_and(|uri| uri.starts_with("data:image/jpeg;base64,"))
            );
            server
                .send("POST", &format!("/sdapi/v1/{path}"), &[], b"")
                .await
                .expect(200);
        };
        let (answer, ()) = tokio::join!(long, watch);
        assert_eq!(
            answer.expect(200)["images"].as_array().map(Vec::len),
            Some(pictures),
            "{path}"
        );
        let task = server
            .post("/internal/progress", &json!({"id_task": "task(1)"}))
            .await
            .expect(200);
        assert_eq!(task["completed"], true);
    }
    assert_eq!(
        server.get("/internal/pending-tasks").await.expect(200),
        json!({"size": 0, "tasks": []})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_cancels_unless_the_file_counts() {
    let server = start().await;
    for (saved, state) in [(false, "cancelled"), (true, "done")] {
        let body = small(json!({"steps": 400, "save_images": saved})).to_string();
        let mut stream = server.connect().await;
        let request = server.request(
            "POST",
            "/sdapi/v1/txt2img",
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
        stream.write_all(&request).await.expect("sent");
        let id = loop {
            let jobs = server.get("/api/v1/jobs?state=running").await.expect(200);
            if let Some(id) = jobs["jobs"][0]["id"].as_str() {
                break id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        drop(stream);
        assert_eq!(server.ended(&id).await["state"], state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_sends_blanks_and_too_many_are_sent_away() {
    let server = start_with(|c| {
        c.limits.blank = Duration::from_millis(50);
        c.limits.waiting = 1;
    })
    .await;
    let body = small(json!({"steps": 400}));
    let long = server.post("/sdapi/v1/txt2img", &body);
    let second = async {
        // The first one has its place before its job is there.
        while server.get("/api/v1/jobs").await.expect(200)["jobs"] == json!([]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
            .post("/sdapi/v1/txt2img", &small(json!({})))
            .await
            .expect(503)
    };
    let (long, refused) = tokio::join!(long, second);
    assert!(long.body.starts_with(b"  ") && long.expect(200)["images"].is_array());
    assert_eq!(refused["code"], "waiting_requests");
    // A job that fails before the first blank has its status. The blank comes late here, so that a slow machine is no failure.
    let failed = start()
        .await
        .post("/sdapi/v1/txt2img", &small(json!({"prompt": "fail"})))
        .await;
    assert_eq!(failed.expect(500)["code"], "network_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_made_larger() {
    let server = start().await;
    let given = b64(&png(16, 8));
    let size = |value: &Value| {
        let picture = image::load_from_memory(&picture(value)).expect("a picture");
        (picture.width(), picture.height())
    };
    let single = async |body: Value| server.post("/sdapi/v1/extra-single-image", &body).await;
    let twice = single(json!({"image": given, "upscaler_1": "Lanczos", "upscaling_resize": 2}))
        .await
        .expect(200);
    assert_eq!(
        (size(&twice["image"]), &twice["html_info"]),
        ((32, 16), &json!(""))
    );
    let fixed = single(json!({"image": given, "resize_mode": 1, "upscaling_resize_w": 20, "upscaling_resize_h": 20, "upscaler_1": "Nearest"})).await.expect(200);
    assert_eq!(size(&fixed["image"]), (20, 20));
    let batch = json!({"imageList": [{"data": given, "name": "a"}, {"data": given, "name": "b"}], "upscaler_1": "Lanczos"});
    let both = server
        .post("/sdapi/v1/extra-batch-images", &batch)
        .await
        .expect(200);
    assert_eq!(both["images"].as_array().map(Vec::len), Some(2));
    for wrong in [
        json!({"image": given, "upscaler_1": "ESRGAN"}),
        json!({"image": given, "upscaler_1": "Lanczos", "upscaling_resize": 1e9}),
        json!({"image": "x"}),
        json!({"image": given, "codeformer_visibility": 1}),
        json!({"image": given, "upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100_000, "upscaling_resize_h": 100_000}),
    ] {
        single(wrong).await.expect(422);
    }
}
