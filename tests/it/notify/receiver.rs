//! An HTTP receiver that misbehaves as it is told. It speaks HTTP by hand, so that it can break off anywhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it does with a request that it has read.
#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    /// Takes it: 204.
    Takes,
    /// Answers with this status, and this Retry-After; a 2xx takes it.
    Answers(u16, Option<u32>),
    /// Sends it elsewhere.
    Redirects(String),
    /// Takes it and never answers.
    Silent,
    /// Breaks the connection off before it takes it.
    Resets,
    /// Takes it, then breaks the connection off without an answer.
    TakesAndResets,
    /// Takes it with an answer without end.
    Endless,
}

/// One request that it has read.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub raw: Vec<u8>,
    pub body: Value,
    /// Whether it took it.
    pub is_taken: bool,
}

impl Got {
    /// The message's id: the header's, or for Slack the one in the text.
    pub fn id(&self) -> String {
        self.headers.get("webhook-id").cloned().unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&self.raw).into_owned();
            let at = text.find("msg_").unwrap_or_else(|| panic!("no id in {text}"));
            text[at..at + 36].to_string()
        })
    }

    /// `fingerprint/change` of every condition that it names.
    pub fn changes(&self) -> Vec<String> {
        let groups = self.body["data"]["groups"].as_array().cloned().unwrap_or_default();
        let named =
            groups.iter().flat_map(|g| g["conditions"].as_array().cloned().unwrap_or_default());
        named
            .map(|c| format!("{}/{}", c["fingerprint"].as_str().unwrap_or("?"), c["change"]))
            .collect()
    }
}

/// The receiver; it ends with this.
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    mood: Arc<Mutex<(Vec<Mood>, Mood)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let mood = Arc::new(Mutex::new((Vec::new(), Mood::Takes)));
        let (all, moods) = (got.clone(), mood.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(answer(stream, all.clone(), moods.clone()));
            }
        });
        Self { url, got, mood, task }
    }

    /// From now on it is in this mood.
    pub fn is(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = (Vec::new(), mood);
    }

    /// The next requests meet these moods, one each; then this one.
    pub fn becomes(&self, moods: &[Mood], then: Mood) {
        let next = moods.iter().rev().cloned().collect();
        *self.mood.lock().expect("no panic") = (next, then);
    }

    /// Every request so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic").clone()
    }

    /// Messages that it took, each once: a receiver knows a repeat by its id. Repeats must have the same bytes.
    pub fn taken(&self) -> BTreeMap<String, Got> {
        let mut taken: BTreeMap<String, Got> = BTreeMap::new();
        for got in self.got().into_iter().filter(|got| got.is_taken) {
            let known = taken.entry(got.id()).or_insert_with(|| got.clone());
            assert_eq!(known.body["data"], got.body["data"], "a repeat says the same");
        }
        taken
    }

    /// Every change that it took is in one message only.
    pub fn changes(&self) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for (id, got) in self.taken() {
            for change in got.changes() {
                let before = told.insert(change.clone(), id.clone());
                assert_eq!(before, None, "{change} was told by two messages");
            }
        }
        told
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    got: Arc<Mutex<Vec<Got>>>,
    moods: Arc<Mutex<(Vec<Mood>, Mood)>>,
) {
    let Some((path, headers, raw)) = read(&mut stream).await else { return };
    let mood = {
        let mut moods = moods.lock().expect("no panic");
        moods.0.pop().unwrap_or_else(|| moods.1.clone())
    };
    let is_taken = matches!(
        mood,
        Mood::Takes
            | Mood::Answers(200..=299, _)
            | Mood::Silent
            | Mood::TakesAndResets
            | Mood::Endless
    );
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    got.lock().expect("no panic").push(Got { path, headers, raw, body, is_taken });
    let say = match mood {
        Mood::Takes => "HTTP/1.1 204 No Content\r\n\r\n".to_string(),
        Mood::Answers(status, None) => format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"),
        Mood::Answers(status, Some(s)) => {
            format!("HTTP/1.1 {status} So\r\nretry-after: {s}\r\ncontent-length: 0\r\n\r\n")
        }
        Mood::Redirects(to) => {
            format!("HTTP/1.1 307 So\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Mood::Silent => return std::future::pending().await,
        Mood::Resets | Mood::TakesAndResets => return,
        Mood::Endless => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(chunk.as_bytes()).await;
            }
            return;
        }
    };
    // Whoever asked may be gone.
    let _ = stream.write_all(say.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> Option<(String, BTreeMap<String, String>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16_384];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_string();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        match tokio::time::timeout(Duration::from_secs(30), stream.read(&mut piece)).await {
            Ok(Ok(n)) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
    Some((path, headers, bytes[end..].to_vec()))
}
