//! Owns the development registry: the schemas of `schemas/` under the Confluent API, in memory.
//! Never checks compatibility (a real registry does, and `noctus schemas check`) and never forgets an id.
//! Invariant: one text has one id, whatever subjects it is registered under.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kafka::registry::subject_of;
use crate::wire::Subject;

/// What a subject inherits if it sets no level of its own.
const DEFAULT_LEVEL: &str = "FULL_TRANSITIVE";

/// A running registry.
pub struct Registry {
    url: String,
    _stop: DropGuard,
}

#[derive(Default)]
struct Book {
    /// Schema texts; id 1 is the first.
    texts: Vec<String>,
    /// Ids of a subject's versions, version 1 first.
    subjects: BTreeMap<String, Vec<usize>>,
    levels: BTreeMap<String, String>,
}

type Shared = Arc<Mutex<Book>>;

impl Registry {
    /// Starts it on a free port with every version of every subject registered.
    pub async fn start() -> std::io::Result<Self> {
        let mut book = Book::default();
        for subject in Subject::ALL {
            for text in subject.versions() {
                book.register(&subject_of(subject.topic()), text);
            }
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let app = router(Arc::new(Mutex::new(book)));
        tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "the development registry stopped");
            }
        });
        Ok(Self { url, _stop: stop.drop_guard() })
    }

    /// Its base address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn router(book: Shared) -> Router {
    Router::new()
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/schemas/ids/{id}", get(schema))
        .route("/config", get(default_level))
        .route("/config/{subject}", put(set_level).get(level))
        .with_state(book)
}

impl Book {
    fn register(&mut self, subject: &str, text: &str) -> usize {
        let id = self.id_of(text).unwrap_or_else(|| {
            self.texts.push(text.to_string());
            self.texts.len()
        });
        let versions = self.subjects.entry(subject.to_string()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }

    /// Texts that are the same JSON are the same schema.
    fn id_of(&self, text: &str) -> Option<usize> {
        let tree = |text: &str| serde_json::from_str::<Value>(text).ok();
        let wanted = tree(text);
        let at = self.texts.iter().position(|known| known == text || tree(known) == wanted)?;
        Some(at + 1)
    }

    fn described(&self, subject: &str, version: usize) -> Option<Value> {
        let id = *self.subjects.get(subject)?.get(version.checked_sub(1)?)?;
        let schema = self.texts.get(id - 1)?;
        Some(json!({"subject": subject, "version": version, "id": id, "schema": schema}))
    }
}

fn read(book: &Shared) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    (status, Json(json!({"error_code": code, "message": message}))).into_response()
}

fn no_subject() -> Response {
    refused(StatusCode::NOT_FOUND, 40401, "Subject not found")
}

fn found(answer: Value) -> Response {
    Json(answer).into_response()
}

async fn subjects(State(book): State<Shared>) -> Response {
    found(json!(read(&book).subjects.keys().collect::<Vec<_>>()))
}

async fn schema(State(book): State<Shared>, Path(id): Path<usize>) -> Response {
    match id.checked_sub(1).and_then(|at| read(&book).texts.get(at).cloned()) {
        Some(text) => found(json!({"schema": text})),
        None => refused(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

async fn versions(State(book): State<Shared>, Path(subject): Path<String>) -> Response {
    match read(&book).subjects.get(&subject) {
        Some(ids) => found(json!((1..=ids.len()).collect::<Vec<_>>())),
        None => no_subject(),
    }
}

async fn version(
    State(book): State<Shared>,
    Path((subject, version)): Path<(String, String)>,
) -> Response {
    let book = read(&book);
    let Some(ids) = book.subjects.get(&subject) else { return no_subject() };
    let number = match version.as_str() {
        "latest" => Some(ids.len()),
        number => number.parse().ok(),
    };
    match number.and_then(|number| book.described(&subject, number)) {
        Some(described) => found(described),
        None => refused(StatusCode::NOT_FOUND, 40402, "Version not found"),
    }
}

async fn look_up(
    State(book): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let book = read(&book);
    let Some(ids) = book.subjects.get(&subject) else { return no_subject() };
    let wanted = body["schema"].as_str().and_then(|text| book.id_of(text));
    let at = wanted.and_then(|id| ids.iter().position(|known| *known == id));
    match at.and_then(|at| book.described(&subject, at + 1)) {
        Some(described) => found(described),
        None => refused(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

async fn register(
    State(book): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let text = body["schema"].as_str().unwrap_or_default();
    if let Err(error) = apache_avro::Schema::parse_str(text) {
        return refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            42201,
            &format!("Invalid schema: {error}"),
        );
    }
    found(json!({"id": read(&book).register(&subject, text)}))
}

async fn default_level() -> Response {
    found(json!({"compatibilityLevel": DEFAULT_LEVEL}))
}

async fn level(State(book): State<Shared>, Path(subject): Path<String>) -> Response {
    let own = read(&book).levels.get(&subject).cloned();
    found(json!({"compatibilityLevel": own.unwrap_or_else(|| DEFAULT_LEVEL.into())}))
}

async fn set_level(
    State(book): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let Some(level) = body["compatibility"].as_str() else {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, 42203, "Invalid compatibility level");
    };
    read(&book).levels.insert(subject, level.to_string());
    found(json!({"compatibility": level}))
}

#[cfg(test)]
mod tests;
