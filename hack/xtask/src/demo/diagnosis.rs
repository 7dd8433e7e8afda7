//! What a failed demo tells: enough to see why without running it again.

use anyhow::Result;

use super::kubectl::Kubectl;
use super::story::Story;

/// What is looked at, in the order in which a person would.
const COMMANDS: &[&str] = &[
    "-n demo get vmdisk,pvc,pod -o wide",
    "-n demo get events --sort-by=.metadata.creationTimestamp",
    "-n demo describe vmdisksync",
    "-n demo logs -l app.kubernetes.io/component=worker --tail=40",
    "-n sync-operator logs -l app.kubernetes.io/component=controller --tail=40",
];

/// Shows it. What cannot be looked at is said and passed over: the failure itself is what matters.
pub(super) fn tell(kubectl: &Kubectl, story: &Story) -> Result<()> {
    story.say("\nWhat the cluster says:")?;
    for line in COMMANDS {
        if let Err(error) = kubectl.show(story, line) {
            story.quote(&format!("{error:#}"));
        }
    }
    Ok(())
}
