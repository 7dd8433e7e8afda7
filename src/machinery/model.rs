//! A model of the world around the machinery, and what must hold in it.
//!
//! The machinery itself is the real one: a client that talks to an API server in memory, caches that lag behind it, and
//! passes that may be interrupted at every request by provisioner, PV controller, scheduler, kubelet and users. From
//! whatever state a random script leaves, repeated passes must converge, and nothing of what lib.rs promises may ever
//! be broken. `bugs` breaks the machinery on purpose, to show that this is noticed.

mod api;
mod bugs;
mod harness;
mod populator;
mod property;
mod world;
