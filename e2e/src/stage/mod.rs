//! A small control plane of one test process's own, and everybody on it but us played: the bed of what must be tried very
//! often or in great numbers.
//!
//! ```text
//! real: etcd, kube-apiserver, kube-controller-manager (volumes, protection, garbage collection), our manifests,
//!       and the controller, as a child process behind a tap
//! played by the actor: provisioner, scheduler, kubelet, and workers that end as a test says
//!
//!   controller ──▶ tap (counts; kills, answers, loses, holds back) ──▶ API server ◀── actor (keeps account)
//! ```
//!
//! Nothing of it outlives the process: the kernel ends the children with it, and the next stage removes its directory.

pub mod actor;
mod controller;
mod nursery;
mod plane;
pub mod tap;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

use actor::Actor;
pub use controller::Controller;
use controller::Place;
use nursery::Nursery;
use plane::Plane;
pub use plane::{IMMEDIATE, RETAINING, STUCK, WAITING};
use tap::{Disturbance, Plan, Tap};

/// How the volume controller of a stage looks again at what it missed: the least that keeps a test short.
pub const QUICK_RESYNC: &str = "1s";
/// For great numbers, of which each look costs.
pub const RARE_RESYNC: &str = "60s";

/// A stage.
pub struct Stage {
    /// Speaks as an administrator, past every tap.
    pub client: Client,
    /// Plays everybody else.
    pub actor: Actor,
    plane: Plane,
    program: PathBuf,
    nursery: Nursery,
    dir: Directory,
    controllers: AtomicUsize,
}

impl Stage {
    /// Builds one.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub async fn start(bind_resync: &str) -> Result<Self> {
        let dir = Directory::new()?;
        let program = controller::program(&dir.0)?;
        let nursery = Nursery::new()?;
        let plane = Plane::start(&nursery, &dir.0, bind_resync).await?;
        let client = plane.client.clone();
        let actor = Actor::start(client.clone());
        Ok(Self { client, actor, plane, program, nursery, dir, controllers: AtomicUsize::new(0) })
    }

    /// Starts a controller without leader election.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn controller(&self) -> Result<Controller> {
        self.disturbed(None, []).await
    }

    /// Starts a controller to which this happens.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn disturbed(
        &self,
        plan: Option<Plan>,
        disturbances: impl IntoIterator<Item = (String, Disturbance)>,
    ) -> Result<Controller> {
        let tap = Tap::open(&self.plane, plan, disturbances).await?;
        let number = self.controllers.fetch_add(1, Ordering::Relaxed);
        let place = Place { nursery: &self.nursery, program: &self.program, dir: &self.dir.0 };
        Controller::start(&place, tap, &format!("controller-{number}"), false)
    }

    /// Speaks as a controller, past every tap: for records that nobody else may write.
    ///
    /// # Errors
    /// When the stage's credentials cannot be read.
    pub async fn as_controller(&self) -> Result<Client> {
        plane::controllers_client(&self.dir.0).await
    }

    /// Makes a namespace; one that is there is fine.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(self.client.clone());
        let params = PatchParams::apply("vmdisk-stage").force();
        let patch = Patch::Apply(&namespace);
        actor::persist(|| api.patch(name, &params, &patch)).await?;
        Ok(())
    }

    /// Puts a policy in force for the controllers that are started from now on.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn policy(&self, keys: &[(&str, &str)]) -> Result<()> {
        const NAME: &str = "sync-operator-policy";
        let policy = ConfigMap {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..ConfigMap::default()
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), "sync-operator");
        let params = PatchParams::apply("vmdisk-stage").force();
        let patch = Patch::Apply(&policy);
        actor::persist(|| api.patch(NAME, &params, &patch)).await?;
        Ok(())
    }

    /// Forgets what controllers have logged so far.
    pub fn clear_log(&self) {
        // Those that run go on at the end of the file, which is then its beginning.
        let _ = fs::write(self.log(), "");
    }

    /// What controllers have logged.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.0.join(controller::LOG)
    }
}

/// A directory of a process's own, which the next one removes if this one cannot.
struct Directory(PathBuf);

const PREFIX: &str = "vmdisk-stage-";

impl Directory {
    fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let parent = std::env::temp_dir();
        remove_stale(&parent);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the directories of processes that are gone.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Against hanging, on a machine that is busy with other things too.
pub const LONG: Duration = Duration::from_mins(10);
