//! `latent serve`, as programs use it.
#![cfg(unix)]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use common::Place;
use serde_json::{Value, json};

/// The program, serving from a folder.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(place: &Place, data: &str, more: &[&str]) -> Self {
        let line = ["serve", "--listen", "127.0.0.1:0", "--data", data, "--json"];
        let mut child = place
            .command(&[&line, more].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let said: Value = serde_json::from_str(&said).expect("a line that says where it listens");
        Self {
            child,
            address: said["address"].as_str().unwrap().to_owned(),
        }
    }

    /// The status and the body of the answer.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a status");
        let body = answer.split_off(end + 4);
        match head.contains("transfer-encoding: chunked") {
            true => (status, unchunked(&body)),
            false => (status, body),
        }
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, path, body);
        let text = String::from_utf8_lossy(&answer);
        assert!(status < 300, "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// The job, once it has so many pictures and, where it `ends`, is done.
    fn wait(&self, id: &str, pictures: u64, ends: bool) -> Value {
        let began = Instant::now();
        loop {
            let job = self.json("GET", &format!("/api/v1/jobs/{id}"), None);
            let done = !ends || job["state"] == "done";
            if done && job["pictures_done"].as_u64() >= Some(pictures) {
                return job;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{job}");
            assert_ne!(job["state"], "failed", "{job}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn files(&self, job: &Value) -> Vec<Vec<u8>> {
        let ids = job["images"].as_array().expect("pictures").iter();
        let each = ids.map(|id| {
            let path = format!("/api/v1/images/{}/file", id.as_str().unwrap());
            let (status, file) = self.ask("GET", &path, None);
            assert_eq!(status, 200);
            file
        });
        each.collect()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[(end + 4 + size).min(body.len())..];
    }
    whole
}

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
