//! The Kubernetes volume populator protocol as a library.
mod populator;
pub use populator::*;
