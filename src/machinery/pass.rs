//! One pass over one claim: observe, decide, ask the populator what only it knows, write at most once.

use std::{sync::Arc, time::Duration};

use crate::{
    apply::Applied,
    decide::{
        self, Ending, Step, Write, after_cleanup, after_complete, after_populate, after_refusal, await_volume,
        hand_over,
    },
    error::Error,
    events::Announcer,
    metrics::{Metrics, Outcome},
    names::prime_name,
    notices,
    observe::Observer,
    observed::{Class, Observed, PrimeVolume, Source, namespace, volume_name},
    populator::{CallbackError, Cause, ClaimRef, Cleanup, CleanupContext, Context, Notice, Populate, Populator, Wait},
    sweep::Retired,
};

/// How soon to look again when a write had been overtaken and no event is sure to tell.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// Replaces a decided step by a wrong one.
#[cfg(test)]
pub(crate) type Tamper<S> = fn(&Observed<S>, Step) -> Step;

/// What every pass needs.
pub(crate) struct Passes<P: Populator> {
    pub(crate) observer: Observer<P::Source>,
    pub(crate) populator: Arc<P>,
    pub(crate) announcer: Announcer,
    pub(crate) metrics: Metrics,
    pub(crate) retired: Arc<Retired>,
    /// A bug to be found by the tests.
    #[cfg(test)]
    pub(crate) tamper: Option<Tamper<P::Source>>,
}

impl<P: Populator> Passes<P> {
    /// Brings the claim one step further; says when the next pass must come if nothing happens.
    pub(crate) async fn run(&self, claim_ref: &ClaimRef) -> Result<Option<Duration>, Error> {
        let in_flight = self.metrics.is_in_flight(&claim_ref.uid);
        let observed = self.observer.observe(claim_ref, in_flight).await?;
        // Whoever woke this pass may have had the claim's name from somebody else.
        let claim_ref = &observed.claim_ref;
        let mut step = decide::decide(&observed);
        loop {
            #[cfg(test)]
            if let Some(tamper) = self.tamper {
                step = tamper(&observed, step);
            }
            tracing::debug!(step = step.name(), "decided");
            step = match step {
                Step::Populate(node) => {
                    self.start_clock(&observed);
                    let answer = self.populate(&observed, node.clone(), None).await?;
                    let provisioned = !observed.provisions_since(Duration::ZERO);
                    if provisioned && matches!(&answer, Populate::Running(Wait { notice: None, .. })) {
                        // What was wrong before is news when it is wrong again.
                        self.announcer.recovered(&claim_ref.uid);
                    }
                    after_populate(&observed, node, answer)
                }
                Step::Complete(node) => match context(&observed, node, None) {
                    Some(context) => {
                        after_complete(&observed, self.populator.complete(&context).await.map_err(failed("complete"))?)
                    }
                    None => return Ok(Some(OVERTAKEN)),
                },
                Step::Cleanup(ending) => self.clean_up(&observed, ending).await?,
                Step::Inspect => hand_over(&observed, &self.observer.inspect(&observed).await?),
                Step::AwaitVolume(wait) => {
                    let failure = match &observed.prime {
                        Some(prime) => self.observer.provisioning_failure(prime).await?,
                        None => None,
                    };
                    await_volume(wait, failure.as_deref())
                }
                Step::Tell(notice, next) => {
                    self.tell(&observed, Some(&notice)).await;
                    *next
                }
                Step::Rest(wait) => {
                    self.tell(&observed, wait.notice.as_ref()).await;
                    return Ok(wait.at_most);
                }
                Step::Write(write) => {
                    let mut node = None;
                    match &write {
                        Write::CreatePrime { node: wanted, .. } => node.clone_from(wanted),
                        Write::DeletePrime(prime) | Write::Unpin { prime: Some(prime), .. }
                            if volume_name(prime).is_none() =>
                        {
                            self.retired.add(claim_ref, namespace(&prime.metadata));
                        }
                        _ => {}
                    }
                    match self.observer.apply(&observed, write).await? {
                        Applied::Done => return Ok(None),
                        Applied::Created(prime) => {
                            self.populator.prime_made(claim_ref, &observed.source_namespace, &prime);
                            return Ok(None);
                        }
                        Applied::Stale => return Ok(Some(OVERTAKEN)),
                        Applied::PrimeRefused(message) => {
                            let refusal = notices::prime_refused(&prime_name(&claim_ref.uid), &message);
                            self.refused(&observed, node, &refusal, message).await?
                        }
                        Applied::PrimeNameTaken => {
                            let prime = prime_name(&claim_ref.uid);
                            let refusal = notices::prime_name_taken(&observed.source_namespace, &prime);
                            self.refused(&observed, node, &refusal, refusal.message.clone()).await?
                        }
                    }
                }
            };
        }
    }

    /// Tells the populator that its prime may not be: what it holds for the claim it can give back.
    async fn refused(
        &self,
        observed: &Observed<P::Source>,
        node: Option<String>,
        refusal: &Notice,
        message: String,
    ) -> Result<Step, Error> {
        let answer = self.populate(observed, node.clone(), Some(message)).await?;
        Ok(after_refusal(observed, node, answer, refusal))
    }

    async fn populate(
        &self,
        observed: &Observed<P::Source>,
        node: Option<String>,
        prime_refused: Option<String>,
    ) -> Result<Populate, Error> {
        match context(observed, node, prime_refused) {
            Some(context) => self.populator.populate(&context).await.map_err(failed("populate")),
            None => Ok(Populate::Hold(Wait { notice: None, at_most: Some(OVERTAKEN) })),
        }
    }

    async fn clean_up(&self, observed: &Observed<P::Source>, ending: Ending) -> Result<Step, Error> {
        let (uid, cause) = (&observed.claim_ref.uid, ending.cause);
        let outcome = match cause {
            Cause::Bound => Some(Outcome::Success),
            Cause::Gone => Some(Outcome::Cancelled),
            Cause::Elsewhere => Some(Outcome::BoundElsewhere),
            Cause::Unplaced | Cause::Refused | Cause::Lost | Cause::Mismatch | Cause::Discarded => None,
        };
        self.tell(observed, ending.wait.notice.as_ref()).await;
        let context = CleanupContext {
            claim_ref: observed.claim_ref.clone(),
            source_namespace: observed.claim.as_ref().map(|_| observed.source_namespace.clone()),
            cause,
            notice: ending.wait.notice.clone(),
            prime: observed.prime.clone(),
            workers: observed.workers.clone(),
        };
        let answer = self.populator.cleanup(&context).await.map_err(failed("cleanup"))?;
        let is_done = answer == Cleanup::Done;
        let next = after_cleanup(observed, ending, answer);
        if let Some(outcome) = outcome {
            self.metrics.ended(uid, outcome, observed.now);
            if is_done && !observed.has_leftovers() && matches!(next, Step::Rest(_)) {
                self.announcer.forget(uid);
                self.observer.forget(uid);
            }
        }
        Ok(next)
    }

    async fn tell(&self, observed: &Observed<P::Source>, notice: Option<&Notice>) {
        match (&observed.claim, notice) {
            (Some(claim), Some(notice)) if notice.reason == notices::FINISHED => {
                self.announcer.conclude(claim, notice).await;
            }
            (Some(claim), Some(notice)) => self.announcer.tell(claim, notice).await,
            _ => {}
        }
    }

    /// A filling that an earlier process began is as old as its prime.
    fn start_clock(&self, observed: &Observed<P::Source>) {
        let since = observed.prime.as_ref().and_then(|prime| prime.metadata.creation_timestamp.as_ref());
        self.metrics.started(&observed.claim_ref.uid, since.map_or(observed.now, |since| since.0));
    }
}

/// What the populator is told; `None` when the source is not there, and then it is not asked.
fn context<S>(observed: &Observed<S>, node: Option<String>, prime_refused: Option<String>) -> Option<Context<S>> {
    let (Some(claim), Source::Found(source)) = (&observed.claim, &observed.source) else { return None };
    let volume = match observed.prime_volume() {
        PrimeVolume::Bound(volume) => Some(Arc::clone(volume)),
        PrimeVolume::Pending | PrimeVolume::Lost(_) => None,
    };
    Some(Context {
        claim_ref: observed.claim_ref.clone(),
        claim: Arc::clone(claim),
        source: Arc::clone(source),
        source_namespace: observed.source_namespace.clone(),
        class: match &observed.class {
            Class::Found { class, .. } => Some(Arc::clone(class)),
            Class::Missing => None,
        },
        prime: observed.prime.clone(),
        volume,
        node,
        prime_refused,
    })
}

fn failed(callback: &'static str) -> impl FnOnce(CallbackError) -> Error {
    move |source| Error::Callback { callback, source }
}
