//! What the storage of the cluster does by itself, without any populator: snapshots, restores and clones of claims, and
//! the ways in which they fail. Tests of what builds on them stand on this ground.

mod clones;
mod faults;
mod ground;
mod restores;
mod source;
