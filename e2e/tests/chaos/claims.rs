//! The claims and their users: what each does, and when. They go on as people do while the API server is away: they try
//! again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::random::Random;
use vmdisk_e2e::testing::{Consumer, Scene};

use crate::images::{Image, Source};

/// Larger than every disk.
const SIZE: &str = "32Mi";
/// The longest time in which nothing may become of any claim: more than a worker may take to start.
const HANG: Duration = Duration::from_mins(8);
/// The longest that one look after all claims may take.
const PATIENCE: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_secs(1);

/// What the user of a claim will do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Where its image lies.
    pub(crate) source: Source,
    /// Its volume mode.
    pub(crate) mode: Mode,
    /// It waits for its consumer.
    pub(crate) waits: bool,
    /// When it is made, from the beginning of the chaos.
    pub(crate) birth: Duration,
    /// How long after that it is deleted, wherever it is then.
    pub(crate) deletion: Option<Duration>,
}

/// The plans of so many claims, made one after the other in most of the time that components are killed. Each kind of
/// source meets both volume modes and both binding modes.
pub(crate) fn plans(random: &Random, claims: usize, span: Duration) -> Vec<Plan> {
    const LAST: f64 = 0.9;
    const LONGEST_LIFE: Duration = Duration::from_secs(20);
    let each = span.mul_f64(LAST).checked_div(u32::try_from(claims).unwrap_or(u32::MAX)).unwrap_or_default();
    let mut birth = Duration::ZERO;
    let plan = |number: usize| {
        let kinds = Source::ALL.len();
        let this = Plan {
            source: Source::ALL[number % kinds],
            mode: Mode::ALL[number / kinds % 2],
            waits: number / kinds / 2 % 2 == 1,
            birth: birth + each.mul_f64(random.share()),
            deletion: random.next().is_multiple_of(6).then(|| LONGEST_LIFE.mul_f64(random.share())),
        };
        birth += each;
        this
    };
    (0..claims).map(plan).collect()
}

/// A claim from its plan to its end.
pub(crate) struct Claim {
    /// Its name, and its image's.
    pub(crate) name: String,
    /// What its user does.
    pub(crate) plan: Plan,
    /// What is to be in it.
    pub(crate) image: Image,
    /// Its UID, once it is there.
    pub(crate) uid: Option<String>,
    /// When it was made.
    made: Option<Instant>,
    /// How long it took to be bound.
    pub(crate) bound_after: Option<Duration>,
    /// Its user has asked for its end.
    deleted: bool,
    gone: bool,
    /// Its consumer is there.
    consumed: bool,
}

impl Claim {
    /// A claim that does not exist yet.
    pub(crate) fn new(name: String, plan: Plan, image: Image) -> Self {
        let (uid, made, bound_after) = (None, None, None);
        Self { name, plan, image, uid, made, bound_after, deleted: false, gone: false, consumed: false }
    }

    /// Whether its user keeps it.
    pub(crate) fn stays(&self) -> bool {
        self.plan.deletion.is_none()
    }

    fn is_at_its_end(&self) -> bool {
        if self.stays() { self.bound_after.is_some() && !self.consumed } else { self.gone && !self.consumed }
    }

    async fn make(&mut self, scene: &Scene) -> Result<()> {
        let class = if self.plan.waits { objects::waiting_claim } else { objects::claim };
        let claim = class(&self.name, &self.name, SIZE, self.plan.mode)?;
        there(scene.create(&self.image.object).await)?;
        there(scene.create(&claim).await)?;
        if self.plan.waits {
            there(self.consumer().create(scene).await)?;
            self.consumed = true;
        }
        self.uid = scene.api::<PersistentVolumeClaim>().get(&self.name).await?.uid();
        Ok(())
    }

    fn consumer(&self) -> Consumer<'_> {
        Consumer { claim: &self.name, mode: self.plan.mode, node: None }
    }

    /// Does what is due; whether that was anything.
    async fn go_on(&mut self, scene: &Scene, began: Instant, seen: Option<&PersistentVolumeClaim>) -> Result<bool> {
        let Some(made) = self.made else {
            if began.elapsed() < self.plan.birth {
                return Ok(false);
            }
            self.make(scene).await.with_context(|| format!("making {}", self.name))?;
            self.made = Some(Instant::now());
            return Ok(true);
        };
        if self.bound_after.is_none() && seen.is_some_and(objects::is_bound) {
            self.bound_after = Some(made.elapsed());
            return Ok(true);
        }
        let due = self.plan.deletion.is_some_and(|after| made.elapsed() >= after);
        if self.consumed && (due || self.bound_after.is_some()) {
            delete::<Pod>(scene, &self.name).await?;
            self.consumed = false;
            return Ok(true);
        }
        if due && !self.deleted {
            delete::<PersistentVolumeClaim>(scene, &self.name).await?;
            self.deleted = true;
            return Ok(true);
        }
        if self.deleted && !self.gone && seen.is_none() {
            self.gone = true;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Lets all users do what they do, until each claim is bound or gone.
///
/// # Errors
/// When nothing becomes of any claim for a long time.
pub(crate) async fn live(scene: &Scene, claims: &mut [Claim], began: Instant) -> Result<()> {
    let (mut last, mut refusal) = (Instant::now(), None);
    while !claims.iter().all(Claim::is_at_its_end) {
        let passed = tokio::time::timeout(PATIENCE, pass(scene, claims, began, &mut refusal)).await;
        match passed.context("the API server does not answer").flatten() {
            Ok(true) => last = Instant::now(),
            Ok(false) => {}
            Err(error) => refusal = Some(error),
        }
        if last.elapsed() > HANG {
            let waiting = claims.iter().filter(|claim| !claim.is_at_its_end()).map(|claim| claim.name.as_str());
            let waiting: Vec<&str> = waiting.collect();
            bail!("nothing became of {waiting:?} for {HANG:?}; the last refusal was {refusal:?}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

/// Looks after every claim once, also when the API server refuses what one of them needs.
async fn pass(scene: &Scene, claims: &mut [Claim], began: Instant, refusal: &mut Option<Error>) -> Result<bool> {
    let listed = scene.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
    let seen: BTreeMap<String, PersistentVolumeClaim> =
        listed.items.into_iter().map(|claim| (claim.name_any(), claim)).collect();
    let mut something = false;
    for claim in claims {
        match claim.go_on(scene, began, seen.get(&claim.name)).await {
            Ok(done) => something |= done,
            Err(error) => *refusal = Some(error),
        }
    }
    Ok(something)
}

/// What is there already was made by a request whose answer was lost.
fn there<T>(made: Result<T>) -> Result<()> {
    match made.map(drop) {
        Err(error) if code(&error) == Some(409) => Ok(()),
        made => made,
    }
}

async fn delete<K>(scene: &Scene, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match scene.api::<K>().delete(name, &DeleteParams::default()).await.map_err(Error::from) {
        Err(error) if code(&error) != Some(404) => Err(error.context(format!("deleting {} {name}", K::kind(&())))),
        _ => Ok(()),
    }
}

fn code(error: &Error) -> Option<u16> {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
