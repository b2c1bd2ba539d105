//! `latent serve`, as programs use it.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Place, service::Service};
use serde_json::{Value, json};

/// What is asked for over HTTP is drawn to the byte as on the command line, and the program ends in good order.
#[test]
fn a_picture_is_that_of_the_command_line() {
    let place = Place::new();
    let mut service = Service::start(&place, "kept", &[]);
    assert_eq!(service.ask("GET", "/healthz", None).0, 200);
    let request = json!({"prompt": "a red apple", "seed": 28, "steps": 4, "batch_size": 2});
    let job = service.json("POST", "/api/v1/jobs", Some(&json!({"request": request})));
    let job = service.wait(job["id"].as_str().unwrap(), 2, true);
    let files = service.files(&job);
    for (file, seed) in files.iter().zip(["28", "29"]) {
        place.ok(&[
            "generate",
            "a red apple",
            "--seed",
            seed,
            "--steps",
            "4",
            "--overwrite",
            "-o",
            "own.png",
        ]);
        let own = std::fs::read(place.path().join("own.png")).unwrap();
        assert!(
            *file == own,
            "the file differs from that of the command line"
        );
    }
    service.signal("-TERM");
    assert!(service.child.wait().unwrap().success());
}

/// What is wrong with a request is said when it is sent, with the field.
#[test]
fn faults_are_found_before_the_job_waits() {
    let place = Place::new();
    let service = Service::start(&place, "kept", &["--paused"]);
    for (request, field) in [
        (json!({"steps": 0}), "steps"),
        (json!({"width": 100_000}), "width"),
        (json!({"sampler": "Eulerr"}), "Euler"),
        (json!({"model": "/etc/passwd"}), "model"),
        (json!({"start": {"image": "/etc/passwd"}}), "image"),
        (json!({"hires": {"scal": 2}}), "scale"),
        (json!({"sampler": "Euler", "s_churn": 2}), "s_churn"),
    ] {
        let (status, answer) =
            service.ask("POST", "/api/v1/jobs", Some(&json!({"request": request})));
        let text = String::from_utf8_lossy(&answer);
        assert!((400..500).contains(&status), "{request}: {status} {text}");
        assert!(text.contains(field), "{request}: {text}");
    }
}

/// Whatever a request calls its sampler, its picture is listed by A1111's name; and what of a request is wrong is told as a field.
#[test]
fn samplers_have_one_name() {
    let place = Place::new();
    let service = Service::start(&place, "kept", &[]);
    let request = json!({"prompt": "a red apple", "seed": 28, "steps": 2, "sampler": "k_dpmpp_2m_ka", "width": 64, "height": 64});
    let job = service.json("POST", "/api/v1/jobs", Some(&json!({"request": request})));
    let job = service.wait(job["id"].as_str().unwrap(), 1, true);
    let path = format!("/api/v1/images/{}", job["images"][0].as_str().unwrap());
    assert_eq!(service.json("GET", &path, None)["sampler"], "DPM++ 2M");
    let wrong = json!({"prompt": "a", "sampler": "none such"});
    let (status, answer) = service.ask("POST", "/v1/images/generations", Some(&wrong));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("sampler"))
    );
}

/// A plain background is left out where that is asked for.
#[test]
fn a_background_is_left_out() {
    let place = Place::new();
    let service = Service::start(&place, "kept", &[]);
    let asked = json!({"prompt": "a red apple on a white background", "seed": 28, "background": "transparent", "response_format": "url"});
    let answer = service.json("POST", "/v1/images/generations", Some(&asked));
    assert_eq!(answer["background"], "transparent");
    let url = answer["data"][0]["url"].as_str().unwrap();
    let (status, file) = service.ask("GET", &url[url.find("/files/").unwrap()..], None);
    assert_eq!(status, 200);
    let picture = latent_pipeline::picture::Picture::decode("the picture", &file).unwrap();
    assert!(
        picture
            .alpha()
            .is_some_and(|alpha| alpha.values().contains(&0))
    );
}

/// A job that was accepted is finished by the next process, with the same bytes.
#[test]
fn a_killed_process_loses_nothing() {
    let place = Place::new();
    let request = json!({"prompt": "a blue fish", "seed": 5, "steps": 12, "batch_count": 4});
    let body = json!({"request": request});
    let undisturbed = {
        let service = Service::start(&place, "other", &[]);
        let job = service.json("POST", "/api/v1/jobs", Some(&body));
        let job = service.wait(job["id"].as_str().unwrap(), 4, true);
        service.files(&job)
    };
    let first = Service::start(&place, "kept", &[]);
    let job = first.json("POST", "/api/v1/jobs", Some(&body));
    let id = job["id"].as_str().unwrap().to_owned();
    first.wait(&id, 1, false);
    first.signal("-KILL");
    drop(first);
    let second = Service::start(&place, "kept", &[]);
    let job = second.wait(&id, 4, true);
    assert!(second.files(&job) == undisturbed, "the pictures differ");
}

/// Others than this machine get in by name and password alone.
#[test]
fn an_open_door_is_refused() {
    let place = Place::new();
    let errors = place.fails(&["serve", "--listen", "0.0.0.0:0"], 2);
    assert!(
        errors.contains("--auth") && errors.contains("--no-auth"),
        "{errors}"
    );
    let errors = place.fails(&["serve", "--auth", "me"], 2);
    assert!(errors.contains("USER:PASSWORD"), "{errors}");
}

/// With `--private` nothing of what is drawn is written but the queue; with `--log-prompts` the log says what is drawn, and that it does.
#[test]
fn what_is_written_is_told() {
    let place = Place::new();
    let draw = |data: &str, more: &[&str]| {
        let line = ["serve", "--listen", "127.0.0.1:0", "--data", data, "--json"];
        let mut command = place.command(&[&line, more].concat());
        let mut service = Service::of(command.stderr(Stdio::piped()));
        let request = json!({"prompt": "zanzibarquux", "seed": 28, "steps": 1});
        let job = service.json("POST", "/api/v1/jobs", Some(&json!({"request": request})));
        let job = service.wait(job["id"].as_str().unwrap(), 1, true);
        let file = service.files(&job).remove(0);
        service.signal("-TERM");
        let mut log = String::new();
        let mut errors = service.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut errors, &mut log).unwrap();
        assert!(service.child.wait().unwrap().success());
        (file, log)
    };
    let (usual, log) = draw("usual", &[]);
    assert!(!log.contains("zanzibarquux"), "{log}");
    let (told, log) = draw("told", &["--log-prompts"]);
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(at("--log-prompts") < at("zanzibarquux"), "{log}");
    let (private, log) = draw("private", &["--private"]);
    assert!(!log.contains("zanzibarquux"), "{log}");
    assert!(usual == told && usual == private, "the pictures differ");
    let names = std::fs::read_dir(place.path().join("private")).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name()) {
        let name = name.into_string().unwrap();
        assert!(name.starts_with("private.sqlite"), "{name} was written");
    }
    let errors = place.fails(&["serve", "--private", "--log-prompts"], 2);
    assert!(errors.contains("--private"), "{errors}");
}

/// A build without PostgreSQL says so, and a worker wants to know whose jobs it draws.
#[test]
fn a_shared_queue_is_named() {
    let place = Place::new();
    let errors = place.fails(&["worker"], 2);
    assert!(
        errors.contains("--database") && errors.contains("--store"),
        "{errors}"
    );
    let errors = place.fails(
        &[
            "serve",
            "--database",
            "mysql://x",
            "--store",
            "s",
            "--listen",
            "127.0.0.1:0",
        ],
        2,
    );
    let word = if cfg!(feature = "cluster") {
        "postgres://"
    } else {
        "--features cluster"
    };
    assert!(errors.contains(word), "{errors}");
    place.fails(&["serve", "--database", "postgres://x"], 2);
}

/// What opens addresses is a program of this test's own, which writes down what it was told.
#[test]
#[cfg(target_os = "linux")]
fn open_shows_the_page() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (opener, told) = (place.path().join("bin/xdg-open"), place.path().join("told"));
    std::fs::create_dir_all(opener.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > {}\n", told.display());
    std::fs::write(&opener, script).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        opener.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let line = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "data",
        "--json",
        "--open",
    ];
    let mut child = place
        .command(&line)
        .env("PATH", path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut said).unwrap();
    let said: Value = serde_json::from_str(&said).expect("where it listens");
    let wanted = format!("http://{}/", said["address"].as_str().unwrap());
    let began = Instant::now();
    while std::fs::read_to_string(&told).unwrap_or_default() != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "nothing was opened"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
