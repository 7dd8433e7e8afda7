//! The tap: everything between one controller and the API server goes through it. It counts, and on request it strikes: it
//! kills the controller at a write, answers in the API server's place, loses answers, or holds watches back.

mod plan;
mod stream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use plan::{Disturbance, Plan, Seen, Side, Strike};

use super::plane::Plane;

/// Who the controller is for the API server: its rights are those of its manifests.
pub(crate) const IDENTITY: &str = "system:serviceaccount:sync-operator:vmdisk-controller";
pub(crate) const GROUPS: [&str; 3] =
    ["system:serviceaccounts", "system:serviceaccounts:sync-operator", "system:authenticated"];

/// Headers that concern one connection, not the request (RFC 9110, section 7.6.1), and those that the relay sets itself.
const OWN: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
];

/// A write of the controller's.
#[derive(Clone, Debug)]
pub struct Write {
    /// What it was.
    pub seen: Seen,
    /// When it came.
    pub at: Instant,
    /// What the API server answered; `None` when it did not hear of it.
    pub answer: Option<StatusCode>,
}

/// One controller's tap; it stops when this is dropped.
pub struct Tap {
    address: SocketAddr,
    state: Arc<State>,
    _task: JoinSet<()>,
}

struct State {
    server: String,
    upstream: reqwest::Client,
    plan: Option<Plan>,
    disturbances: HashMap<String, Disturbance>,
    victim: Mutex<Option<Pid>>,
    writes: Mutex<Vec<Write>>,
    requests: AtomicUsize,
    /// Writes that are on their way to the API server.
    under_way: watch::Sender<usize>,
    struck: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
    /// The controller is dead: what it had said and nobody had read is lost.
    dead: AtomicBool,
}

impl Tap {
    /// A tap that does as it is told.
    pub(crate) async fn open(
        plane: &Plane,
        plan: Option<Plan>,
        disturbances: impl IntoIterator<Item = (String, Disturbance)>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen for the controller")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server: plane.server.clone(),
            upstream: upstream(plane)?,
            plan,
            disturbances: disturbances.into_iter().collect(),
            victim: Mutex::default(),
            writes: Mutex::default(),
            requests: AtomicUsize::new(0),
            under_way: watch::channel(0).0,
            struck: watch::channel(false).0,
            let_go: watch::channel(false).0,
            dead: AtomicBool::new(false),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, _task: task })
    }

    /// Writes the kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self, path: &Path) -> Result<()> {
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "tap", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "tap", "user": {}}],
            "contexts": [{"name": "tap", "context": {"cluster": "tap", "user": "tap"}}],
            "current-context": "tap",
        });
        std::fs::write(path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Says who is behind it.
    pub(crate) fn attach(&self, controller: Pid) {
        *lock(&self.state.victim) = Some(controller);
    }

    /// Whether the plan was carried out.
    #[must_use]
    pub fn is_struck(&self) -> bool {
        *self.state.struck.borrow()
    }

    /// Waits until the plan has been carried out and nothing of the controller's is on its way, if it is dead.
    pub async fn struck(&self) {
        // The senders live as long as the state.
        let _ = self.state.struck.subscribe().wait_for(|struck| *struck).await;
        if self.state.dead.load(Ordering::Acquire) {
            let _ = self.state.under_way.subscribe().wait_for(|under_way| *under_way == 0).await;
        }
    }

    /// Lets a parked write go on.
    pub fn let_go(&self) {
        self.state.let_go.send_replace(true);
    }

    /// Waits until every write up to this number has been answered.
    pub async fn landed(&self, number: usize) {
        let answered = |_: &usize| lock(&self.state.writes).iter().take(number).all(|write| write.answer.is_some());
        let _ = self.state.under_way.subscribe().wait_for(answered).await;
    }

    /// Every write so far, in the order in which they came.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        lock(&self.state.writes).clone()
    }

    /// How many requests there were, watches and heartbeats among them.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

/// The way to the API server, as an administrator who speaks for the controller.
fn upstream(plane: &Plane) -> Result<reqwest::Client> {
    let read =
        |path: std::path::PathBuf| std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let identity = [read(plane.pki.cert("admin"))?, read(plane.pki.key("admin"))?].concat();
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("impersonate-user", HeaderValue::from_static(IDENTITY));
    for group in GROUPS {
        headers.append("impersonate-group", HeaderValue::from_static(group));
    }
    let ca = reqwest::Certificate::from_pem(&read(plane.pki.ca())?)?;
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).default_headers(headers);
    builder.identity(reqwest::Identity::from_pem(&identity)?).build().context("cannot make a client of the API server")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        // An error ends the connection without an answer.
        async move { answer(state, request).await.ok_or_else(|| std::io::Error::other("no answer")) }
    });
    // A connection that breaks is what a tap is for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Answers one request; `None`: the connection breaks.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> Option<Response<Body>> {
    if state.dead.load(Ordering::Acquire) {
        return None;
    }
    let seen = Seen::read(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
    state.requests.fetch_add(1, Ordering::Relaxed);
    if !seen.is_write() {
        let disturbance = state.disturbances.get(&seen.resource).copied().filter(|_| seen.watch);
        let response = forward(&state, request).await.ok()?;
        return stream::relay(response, disturbance);
    }
    let number = {
        let mut writes = lock(&state.writes);
        writes.push(Write { seen, at: Instant::now(), answer: None });
        writes.len()
    };
    let strike = state.plan.filter(|plan| plan.at == number).map(|plan| plan.strike);
    if let Some((code, body)) = strike.and_then(Strike::answer) {
        state.struck.send_replace(true);
        return Response::builder()
            .status(code)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::RETRY_AFTER, "1")
            .body(Body::from(body.to_string()))
            .ok();
    }
    match strike {
        Some(Strike::Kill(Side::Before)) => {
            kill(&state);
            return None;
        }
        Some(Strike::Parked) => {
            state.struck.send_replace(true);
            let _ = state.let_go.subscribe().wait_for(|gone| *gone).await;
        }
        _ => {}
    }
    // In a task of its own: a write that is under way takes effect whatever becomes of the controller.
    state.under_way.send_modify(|under_way| *under_way += 1);
    let sender = Arc::clone(&state);
    let outcome = tokio::spawn(async move {
        let outcome = whole(&sender, request).await;
        if let Some(write) = lock(&sender.writes).get_mut(number - 1) {
            write.answer = outcome.as_ref().map(Response::status);
        }
        sender.under_way.send_modify(|under_way| *under_way -= 1);
        outcome
    })
    .await
    .ok()?;
    match strike {
        Some(Strike::Kill(Side::After)) => {
            kill(&state);
            None
        }
        Some(Strike::Lost) => {
            state.struck.send_replace(true);
            None
        }
        _ => outcome,
    }
}

fn kill(state: &State) {
    state.dead.store(true, Ordering::Release);
    if let Some(victim) = *lock(&state.victim) {
        // Its parent has not waited for it yet, so the id is still its own.
        let _ = kill_process(victim, Signal::KILL);
    }
    state.struck.send_replace(true);
}

/// Sends a write and reads the whole answer.
async fn whole(state: &State, request: Request<Incoming>) -> Option<Response<Body>> {
    let response = forward(state, request).await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes: Bytes = response.bytes().await.ok()?;
    let mut answer = Response::new(Body::from(bytes));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    for name in &OWN {
        answer.headers_mut().remove(name);
    }
    Some(answer)
}

async fn forward(state: &State, request: Request<Incoming>) -> Result<reqwest::Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.context("the controller broke off")?;
    let mut headers = parts.headers;
    for name in &OWN {
        headers.remove(name);
    }
    let sent = state.upstream.request(parts.method, format!("{}{path}", state.server)).headers(headers).body(body);
    sent.send().await.context("the API server does not answer")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
