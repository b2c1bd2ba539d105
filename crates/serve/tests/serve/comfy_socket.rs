//! ComfyUI's WebSocket, frame by frame.

use std::time::Duration;

use crate::comfy::{graph, send};
use crate::common::{Running, start, start_with};
use latent_serve::User;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What came.
#[derive(Debug)]
enum Message {
    Json(Value),
    Bytes(Vec<u8>),
    Other(u8, Vec<u8>),
}

struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

async fn shake(server: &Running, path: &str, headers: &[(&str, &str)]) -> (TcpStream, Vec<u8>) {
    let mut stream = server.connect().await;
    let mut all = vec![
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    all.extend_from_slice(headers);
    let request = String::from_utf8(server.request("GET", path, &all, b"")).expect("text");
    let request = request.replace("connection: close\r\n", "");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut byte = [0];
        let read = timeout(Duration::from_secs(10), stream.read(&mut byte)).await;
        if read.expect("an answer").unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    (stream, head)
}

impl Socket {
    async fn open(server: &Running, path: &str) -> Self {
        let (stream, head) = shake(server, path, &[]).await;
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        Self {
            stream,
            read: Vec::new(),
        }
    }

    async fn next(&mut self) -> Message {
        let next = async {
            loop {
                if let Some((message, length)) = whole(&self.read) {
                    self.read.drain(..length);
                    return message;
                }
                let mut more = [0; 4096];
                let read = self.stream.read(&mut more).await.expect("read");
                assert!(read > 0, "it was closed");
                self.read.extend_from_slice(&more[..read]);
            }
        };
        timeout(Duration::from_secs(20), next)
            .await
            .expect("a message")
    }

    /// The next message of that kind.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            if let Message::Json(message) = self.next().await
                && message["type"] == kind
            {
                return message["data"].clone();
            }
        }
    }

    /// Sends a masked frame.
    async fn say(&mut self, kind: u8, body: &[u8]) {
        let mask = [1, 2, 3, 4];
        let masked = body.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b);
        let mut frame = vec![0x80 | kind, 0x80 | body.len() as u8, 1, 2, 3, 4];
        frame.extend(masked);
        self.stream.write_all(&frame).await.expect("sent");
    }
}

/// The first message and its length, once it is there.
fn whole(bytes: &[u8]) -> Option<(Message, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    assert_eq!(first & 0x80, 0x80, "messages are whole");
    let (length, wide) = match second {
        126 => (
            u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)),
            2,
        ),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 8),
        short => (u64::from(*short), 0),
    };
    let body = rest.get(wide..wide + length as usize)?.to_vec();
    let message = match first & 0x0f {
        1 => Message::Json(serde_json::from_slice(&body).expect("JSON")),
        2 => Message::Bytes(body),
        kind => Message::Other(kind, body),
    };
    Some((message, 2 + wide + length as usize))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_told_from_beginning_to_end() {
    let server = start().await;
    let mut socket = Socket::open(&server, "/ws?clientId=me").await;
    let status = socket.until("status").await;
    assert_eq!(
        (
            &status["sid"],
            &status["status"]["exec_info"]["queue_remaining"]
        ),
        (&json!("me"), &json!(0))
    );
    let mut long = graph();
    long["3"]["inputs"]["steps"] = json!(400);
    let id = send(&server, &long).await.expect(200)["prompt_id"].clone();
    let mut told = Vec::new();
    let mut steps = Vec::new();
    loop {
        let message = match socket.next().await {
            Message::Json(message) => message,
            other => panic!("{other:?}: nobody asked for previews"),
        };
        let data = &message["data"];
        match message["type"].as_str().expect("a type") {
            "status" => continue,
            "progress" => {
                assert_eq!(
                    (&data["max"], &data["node"], &data["prompt_id"]),
                    (&json!(400), &json!("3"), &id)
                );
                steps.push(data["value"].as_u64().expect("a step"));
            }
            kind => {
                assert_eq!(data["prompt_id"], id, "{message}");
                told.push(format!(
                    "{kind} {}",
                    data["node"].as_str().unwrap_or_default()
                ));
                if kind == "executed" {
                    assert_eq!(data["output"]["images"].as_array().map(Vec::len), Some(2));
                }
                if kind == "executing" && data["node"].is_null() {
                    break;
                }
            }
        }
    }
    told.dedup();
    assert_eq!(
        told,
        [
            "execution_start ",
            "execution_cached ",
            "executing 3",
            "executing 9",
            "executed 9",
            "execution_success ",
            "executing "
        ]
    );
    assert!(steps.len() > 1, "{steps:?}");
    let status = socket.until("status").await;
    assert_eq!(status["status"]["exec_info"]["queue_remaining"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_hears_the_end() {
    let server = start().await;
    let mut long = graph();
    long["3"]["inputs"]["steps"] = json!(400);
    let id = send(&server, &long).await.expect(200)["prompt_id"].clone();
    server
        .until(id.as_str().expect("an id"), |job| job["state"] == "running")
        .await;
    let mut socket = Socket::open(&server, "/api/ws?clientId=me").await;
    let status = socket.until("status").await;
    assert_eq!(status["status"]["exec_info"]["queue_remaining"], 1);
    assert_eq!(socket.until("execution_start").await["prompt_id"], id);
    assert_eq!(socket.until("execution_success").await["prompt_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_graphs_are_told() {
    let server = start().await;
    let mut other = Socket::open(&server, "/ws?clientId=other").await;
    let mut mine = Socket::open(&server, "/ws?clientId=me").await;
    send(&server, &graph()).await.expect(200);
    mine.until("execution_success").await;
    other.say(9, b"still there?").await;
    loop {
        match other.next().await {
            Message::Json(message) => assert_eq!(message["type"], "status", "{message}"),
            Message::Other(10, body) => break assert_eq!(body, b"still there?"),
            message => panic!("{message:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_sent_to_whom_wants_them() {
    let server = start().await;
    let mut socket = Socket::open(&server, "/ws?clientId=me").await;
    let mut long = graph();
    long["3"]["inputs"]["steps"] = json!(1000);
    let body = json!({"prompt": long, "client_id": "me", "extra_data": {"preview_method": "auto"}});
    server.post("/prompt", &body).await.expect(200);
    let picture = loop {
        if let Message::Bytes(bytes) = socket.next().await {
            break bytes;
        }
    };
    assert_eq!(picture[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(picture[8..].starts_with(&[0xff, 0xd8]), "a JPEG");
    server
        .send("POST", "/interrupt", &[], b"")
        .await
        .expect(200);
    let told = socket.until("execution_interrupted").await;
    assert_eq!(
        (&told["node_id"], &told["node_type"]),
        (&json!("3"), &json!("KSampler"))
    );
    assert_eq!(socket.until("executing").await["node"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_by_the_socket_where_the_graph_says_so() {
    let server = start().await;
    let mut socket = Socket::open(&server, "/ws?clientId=me").await;
    let mut direct = graph();
    direct["9"] = json!({"class_type": "SaveImageWebsocket", "inputs": {"images": ["8", 0]}});
    send(&server, &direct).await.expect(200);
    let mut pictures = 0;
    loop {
        match socket.next().await {
            Message::Bytes(bytes) => {
                assert_eq!(bytes[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
                assert!(bytes[8..].starts_with(b"\x89PNG"));
                pictures += 1;
            }
            Message::Json(message) if message["type"] == "execution_success" => break,
            _ => {}
        }
    }
    assert_eq!(pictures, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told() {
    let server = start().await;
    let mut socket = Socket::open(&server, "/ws?clientId=me").await;
    let mut failing = graph();
    failing["6"]["inputs"]["text"] = json!("fail");
    send(&server, &failing).await.expect(200);
    let told = socket.until("execution_error").await;
    assert_eq!(
        (&told["exception_type"], &told["node_id"]),
        (&json!("network_failed"), &json!("3"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_hear_nothing() {
    let server = start().await;
    for headers in [
        [("origin", "https://evil.org")],
        [("origin", "null")],
        [("host", "evil.org")],
        [("sec-fetch-site", "cross-site")],
    ] {
        let (_, head) = shake(&server, "/ws?clientId=me", &headers).await;
        assert!(head.starts_with(b"HTTP/1.1 403"), "{headers:?}");
    }
    let own = format!("http://{}", server.address);
    let (_, head) = shake(&server, "/ws?clientId=me", &[("origin", &own)]).await;
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let plain = server.get("/ws").await;
    assert_eq!(
        (plain.status, plain.json()["error"]["type"].clone()),
        (400, json!("websocket_expected"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_asked_and_hear_their_own() {
    let users = ["ann:one", "bob:two"].map(|user| User::parse(user).expect("a user"));
    let server = start_with(|c| c.users = users.to_vec()).await;
    let (_, head) = shake(&server, "/ws?clientId=me", &[]).await;
    assert!(head.starts_with(b"HTTP/1.1 401"));
    let bearer = [("authorization", "Bearer two")];
    let (stream, head) = shake(&server, "/ws?clientId=me", &bearer).await;
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let mut bob = Socket {
        stream,
        read: Vec::new(),
    };
    let body = json!({"prompt": graph(), "client_id": "me"}).to_string();
    let headers = [
        ("authorization", "Bearer one"),
        ("content-type", "application/json"),
    ];
    let told = server
        .send("POST", "/prompt", &headers, body.as_bytes())
        .await
        .expect(200);
    let path = format!(
        "/api/v1/jobs/{}",
        told["prompt_id"].as_str().expect("an id")
    );
    while server
        .send("GET", &path, &headers[..1], b"")
        .await
        .expect(200)["state"]
        != "done"
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bob.say(9, b"").await;
    loop {
        match bob.next().await {
            Message::Json(message) => {
                assert_eq!(
                    (
                        &message["type"],
                        &message["data"]["status"]["exec_info"]["queue_remaining"]
                    ),
                    (&json!("status"), &json!(0)),
                    "{message}"
                );
            }
            Message::Other(10, _) => break,
            message => panic!("{message:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_and_the_end_close_it() {
    let mut server = start().await;
    for (frame, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002u16),
        (vec![0x82, 0xff, 0, 0, 0, 0, 9, 0, 0, 0], 1009),
    ] {
        let mut socket = Socket::open(&server, "/ws").await;
        socket.stream.write_all(&frame).await.expect("sent");
        let closed = loop {
            if let Message::Other(8, body) = socket.next().await {
                break body;
            }
        };
        assert_eq!(closed, code.to_be_bytes());
    }
    let mut socket = Socket::open(&server, "/ws").await;
    server.end();
    loop {
        if let Message::Other(8, body) = socket.next().await {
            assert_eq!(body, 1001u16.to_be_bytes());
            break;
        }
    }
    server.ended_by_itself().await;
}
