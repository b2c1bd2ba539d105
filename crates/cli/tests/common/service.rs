//! The program as a service, and a client of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Place;

/// The program, serving from a folder.
pub struct Service {
    pub child: Child,
    pub address: String,
}

impl Service {
    pub fn start(place: &Place, data: &str, more: &[&str]) -> Self {
        let line = ["serve", "--listen", "127.0.0.1:0", "--data", data, "--json"];
        Self::of(&mut place.command(&[&line, more].concat()))
    }

    /// Runs a command that serves and says where.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
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

    pub fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, path, body);
        let text = String::from_utf8_lossy(&answer);
        assert!(status < 300, "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// The job, once it has so many pictures and, where it `ends`, is done.
    pub fn wait(&self, id: &str, pictures: u64, ends: bool) -> Value {
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

    pub fn files(&self, job: &Value) -> Vec<Vec<u8>> {
        let ids = job["images"].as_array().expect("pictures").iter();
        let each = ids.map(|id| {
            let path = format!("/api/v1/images/{}/file", id.as_str().unwrap());
            let (status, file) = self.ask("GET", &path, None);
            assert_eq!(status, 200);
            file
        });
        each.collect()
    }

    pub fn signal(&self, name: &str) {
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
