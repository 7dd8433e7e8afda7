//! What must have the cluster for itself: tests that kill the controller or stop a component. Run one by one.

mod operator;
mod replicas;
mod restart;
