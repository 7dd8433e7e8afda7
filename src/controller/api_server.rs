//! For tests: an API server that answers what a test says, over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    extract::Request,
    http::{StatusCode, Uri},
    response::IntoResponse,
};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Asked {
    /// The value of a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What was asked so far, and a client that asks.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ApiServer {
    /// Serves these answers for as long as the test's runtime lives.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        config.default_retry = false;
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let serve = Router::new().fallback(move |request: Request| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let asked = Asked {
                    method: head.method.to_string(),
                    path: head.uri.path().to_owned(),
                    query: query(&head.uri),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let (code, value) = answer(&asked);
                log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                (StatusCode::from_u16(code).unwrap(), Json(value)).into_response()
            }
        });
        tokio::spawn(async move { axum::serve(listener, serve).await });
        Self { client: Client::try_from(config).unwrap(), asked }
    }

    /// The requests since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

/// A refusal, as the API server words it.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}))
}
