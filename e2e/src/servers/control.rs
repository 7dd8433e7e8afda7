//! The endpoint by which tests read the accounts and set faults.
//!
//! | request | answer or effect |
//! |---|---|
//! | `GET /SERVER/counts?prefix=/ns/` | the accounts of all paths below the prefix, as JSON by path |
//! | `PUT /SERVER/fault?path=/ns/disk.img` with a [`Fault`] | sets it |
//! | `POST /SERVER/release?path=…` | lets held requests go on |
//! | `DELETE /SERVER/fault?path=…` | removes it |
//! | `GET /SERVER/faults` | all that are set |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use serde::Deserialize;

use super::count::Count;
use super::fault::Fault;
use super::handler::Server;

type Servers = Arc<HashMap<String, Server>>;

#[derive(Deserialize)]
struct Which {
    path: String,
}

#[derive(Deserialize)]
struct Below {
    #[serde(default)]
    prefix: String,
}

/// The routes of the endpoint.
pub(crate) fn router(servers: HashMap<String, Server>) -> Router {
    Router::new()
        .route("/{server}/counts", get(counts))
        .route("/{server}/faults", get(faults))
        .route("/{server}/fault", put(set).delete(remove))
        .route("/{server}/release", post(release))
        .with_state(Arc::new(servers))
}

fn find<'a>(servers: &'a Servers, name: &str) -> Result<&'a Server, StatusCode> {
    servers.get(name).ok_or(StatusCode::NOT_FOUND)
}

async fn counts(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    Query(below): Query<Below>,
) -> Result<Json<BTreeMap<String, Count>>, StatusCode> {
    Ok(Json(find(&servers, &name)?.counts.below(&below.prefix)))
}

async fn faults(
    State(servers): State<Servers>,
    Path(name): Path<String>,
) -> Result<Json<HashMap<String, Fault>>, StatusCode> {
    Ok(Json(find(&servers, &name)?.faults.all()))
}

async fn set(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
    Json(fault): Json<Fault>,
) -> Result<StatusCode, StatusCode> {
    find(&servers, &name)?.faults.set(&which.path, fault);
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<StatusCode, StatusCode> {
    Ok(done(find(&servers, &name)?.faults.remove(&which.path)))
}

async fn release(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<StatusCode, StatusCode> {
    Ok(done(find(&servers, &name)?.faults.release(&which.path)))
}

fn done(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
