//! A server on a free port, and a client that sends bytes as they are.
#![allow(dead_code, reason = "each test uses its part")]

pub mod engine;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use latent_queue::{Database, Limits as QueueLimits, Outside, Queue, Store};
use latent_serve::{Config, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use engine::Fake;

static COUNT: AtomicU64 = AtomicU64::new(1);

fn outside() -> Outside {
    Outside {
        now: Arc::new(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            i64::try_from(now.as_millis()).expect("before the end of time")
        }),
        random: Arc::new(|| {
            let n = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 3
        }),
        free: Arc::new(|_| Ok(1 << 40)),
    }
}

/// A running server.
pub struct Running {
    pub address: SocketAddr,
    pub engine: Arc<Fake>,
    folder: Option<TempDir>,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub async fn start() -> Running {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    start_in(
        tempfile::tempdir().expect("a folder"),
        change,
        QueueLimits::default(),
    )
    .await
}

pub async fn start_in(
    folder: TempDir,
    change: impl FnOnce(&mut Config),
    limits: QueueLimits,
) -> Running {
    let mut config = Config::new(folder.path());
    config.listen = "127.0.0.1:0".parse().expect("an address");
    change(&mut config);
    let store = match config.private {
        true => Store::in_memory(1 << 30),
        false => Store::open(folder.path().join("store")).expect("a folder"),
    };
    let database = Database::Sqlite(folder.path().join("queue.db"));
    let queue = Queue::open(database, store, limits, outside())
        .await
        .expect("a queue");
    let engine = Arc::new(Fake::default());
    let server = Server::bind(config, engine.clone(), queue, outside())
        .await
        .expect("a server");
    let address = server.address().expect("an address");
    let (end, ended) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async {
        let _ = ended.await;
    }));
    Running {
        address,
        engine,
        folder: Some(folder),
        end: Some(end),
        task,
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .next()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    /// The JSON of an answer with that status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        match self.body.is_empty() {
            true => Value::Null,
            false => self.json(),
        }
    }

    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.expect(status)["code"], code, "{}", self.text());
    }
}

impl Running {
    /// Where it keeps what it writes.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().expect("a folder").path()
    }

    /// Ends it in good order; its folder stays for the next.
    pub async fn stop(mut self) -> TempDir {
        let _ = self.end.take().expect("runs").send(());
        (&mut self.task).await.expect("no panic");
        self.folder.take().expect("a folder")
    }

    /// Waits until it has ended, after [`end`](Self::end).
    pub async fn ended_by_itself(mut self) -> TempDir {
        (&mut self.task).await.expect("no panic");
        self.folder.take().expect("a folder")
    }

    /// Tells it to end.
    pub fn end(&mut self) {
        let _ = self.end.take().expect("runs").send(());
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect().await;
        let request = self.request(method, path, headers, body);
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(&request).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        parse(&bytes)
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if !body.is_empty() && !has("content-length") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub async fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string().as_bytes())
            .await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, body).await
    }

    /// Waits until a job has ended.
    pub async fn ended(&self, id: &str) -> Value {
        self.until(id, |job| {
            !["queued", "running"].contains(&job["state"].as_str().unwrap_or_default())
        })
        .await
    }

    /// Waits until a job fits.
    pub async fn until(&self, id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await.expect(200);
            if fits(&job) {
                return job;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{job}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads an answer off its bytes.
pub fn parse(bytes: &[u8]) -> Answer {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let Some(at) = at else {
        return Answer {
            status: 0,
            head: String::from_utf8_lossy(bytes).into_owned(),
            body: Vec::new(),
        };
    };
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let mut body = bytes[at + 4..].to_vec();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = dechunked(&body);
    }
    Answer { status, head, body }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line])
            .ok()
            .and_then(|s| usize::from_str_radix(s, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && line + 2 + size <= rest.len()) else {
            break;
        };
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[(line + 4 + size).min(rest.len())..];
    }
    body
}

/// A small picture with pixels of its own.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let rgb: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 7 % 251) as u8)
        .collect();
    engine::encode(&rgb, width, height, latent_serve::Output::default(), "")
}
