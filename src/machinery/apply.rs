//! Carries out one decided write, so that it can only hit what the decision was about.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::Value;

use crate::{
    build,
    decide::Write,
    error::{Error, Trying},
    names::prime_name,
    observe::Observer,
    observed::{Observed, name, namespace, uid},
    places::{Standing, Which, standing},
    populator::PrimeSpec,
};

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is done; the watches tell the rest.
    Done,
    /// The prime was created, with this UID.
    Created(String),
    /// It would have been wrong by now.
    Stale,
    /// The API server does not let the prime be, and says why.
    PrimeRefused(String),
    /// Something that is not ours has the prime's name.
    PrimeNameTaken,
}

impl<S> Observer<S>
where
    S: Resource<DynamicType = ()> + Clone,
{
    pub(crate) async fn apply(&self, observed: &Observed<S>, write: Write) -> Result<Applied, Error> {
        let (keys, claim_ref) = (&observed.keys, &observed.claim_ref);
        match write {
            Write::CreatePrime { spec, node } => self.create_prime(observed, *spec, node.as_deref()).await,
            Write::DeletePrime(prime) => self.delete_prime(&prime).await,
            Write::Reclaim(volume) => {
                let patch = build::reclaim(keys, claim_ref, &volume);
                self.patch_volume(&volume, patch).await.trying("set a volume's reclaim policy")
            }
            Write::Rebind(volume) => {
                let source = observed.claim.as_ref().and_then(|claim| claim.spec.as_ref()?.data_source_ref.as_ref());
                let source = source.map_or("", |source| source.name.as_str());
                let from = format!("{}/{source}", observed.source_namespace);
                let patch = build::rebind(keys, claim_ref, &volume, &from, observed.now);
                self.patch_volume(&volume, patch).await.trying("hand the volume over to the claim")
            }
            Write::Unpin { node, prime } => {
                let Some(claim) = &observed.claim else { return Ok(Applied::Stale) };
                tracing::info!(node, "taking the selected node off the claim");
                let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &claim_ref.namespace);
                let patch = Patch::Merge(build::unpin(claim));
                api.patch(&claim_ref.name, &self.patch_params(), &patch)
                    .await
                    .trying("take the selected node off the claim")?;
                match prime {
                    Some(prime) => self.delete_prime(&prime).await,
                    None => Ok(Applied::Done),
                }
            }
        }
    }

    async fn create_prime(
        &self,
        observed: &Observed<S>,
        spec: PrimeSpec,
        node: Option<&str>,
    ) -> Result<Applied, Error> {
        let claim_ref = &observed.claim_ref;
        let Some(claim) = &observed.claim else { return Ok(Applied::Stale) };
        if !self.wants_prime(observed, node).await? {
            return Ok(Applied::Stale);
        }
        let prime = build::prime(&observed.keys, claim_ref, claim, &observed.source_namespace, spec, node);
        let api = self.primes(&observed.source_namespace);
        let params = PostParams { field_manager: Some(self.config.field_manager.clone()), ..PostParams::default() };
        match api.create(&params, &prime).await {
            Ok(created) => Ok(Applied::Created(self.learn_prime(created))),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = api.get_opt(&prime_name(&claim_ref.uid)).await.trying("read the prime")?;
                let standing =
                    found.as_ref().map(|found| standing(&self.keys, &observed.recorded, Which::Prime, &found.metadata));
                if let Some(found) = found {
                    self.primes.wrote(found);
                }
                // The next pass deals with what an earlier process made.
                Ok(if standing == Some(Standing::Foreign) { Applied::PrimeNameTaken } else { Applied::Stale })
            }
            // A quota, a LimitRange, a policy or a namespace that is going; or a value that an admission rule forbids.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                Ok(Applied::PrimeRefused(status.message.clone()))
            }
            Err(error) => Err(error).trying("create the prime"),
        }
    }

    async fn delete_prime(&self, prime: &PersistentVolumeClaim) -> Result<Applied, Error> {
        let only_this = Preconditions { uid: Some(uid(&prime.metadata).into()), resource_version: None };
        let params = DeleteParams::default().preconditions(only_this);
        match self.primes(namespace(&prime.metadata)).delete(name(&prime.metadata), &params).await {
            Ok(answer) => {
                if let Some(going) = answer.left() {
                    self.primes.wrote(going);
                }
                Ok(Applied::Done)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Applied::Done),
            Err(error) => Err(error).trying("delete the prime"),
        }
    }

    /// The prime that was just created, as later passes see it; gives its UID.
    fn learn_prime(&self, created: PersistentVolumeClaim) -> String {
        let made = uid(&created.metadata).to_owned();
        self.primes.wrote(created);
        made
    }

    async fn patch_volume(&self, volume: &PersistentVolume, patch: Value) -> Result<Applied, kube::Error> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        api.patch(name(&volume.metadata), &self.patch_params(), &Patch::Merge(patch)).await?;
        Ok(Applied::Done)
    }

    fn primes(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(Client::clone(&self.client), namespace)
    }

    fn patch_params(&self) -> PatchParams {
        PatchParams { field_manager: Some(self.config.field_manager.clone()), ..PatchParams::default() }
    }
}
