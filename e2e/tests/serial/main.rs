//! What must have the cluster for itself: tests that kill the controller, stop a component or edit the policy. Run one
//! by one.

mod adversary;
mod closed;
mod deletion;
mod gate;
mod healing;
mod history;
mod kills;
mod ledger;
mod narrow;
mod placement;
mod replicas;
mod restart;
mod wall;
mod workers;

use vmdisk_e2e::testing::{class, disk, operator, policy, random};
