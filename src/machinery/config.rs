//! What a populator may set.

use std::time::Duration;

use crate::names::Keys;

/// The settings of one populator. Made with [`Config::new`], then changed field by field.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Config {
    /// The prefix of all labels and annotations, usually the API group of the source.
    pub prefix: String,
    /// The last part of the annotation by which a claim names the namespace of its source.
    pub source_namespace_annotation: String,
    /// Who writes, in managedFields and in events.
    pub field_manager: String,
    /// Which of several replicas writes, in events: the name of the pod.
    pub instance: String,
    /// How many claims are looked at at the same time. A pass is short; this is no limit on fillings.
    pub concurrency: usize,
    /// How often to look for what no event told.
    pub sweep_interval: Duration,
    /// How long one pass may take. A pass is a few requests; longer than this one of them hangs.
    pub pass_timeout: Duration,
    /// How long a claim may take to be bound to its filled volume before a Warning says so.
    pub bind_deadline: Duration,
}

impl Config {
    /// The defaults for a prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            source_namespace_annotation: "source-namespace".into(),
            field_manager: format!("{prefix}-populator"),
            instance: format!("{prefix}-populator"),
            concurrency: 16,
            sweep_interval: Duration::from_mins(2),
            pass_timeout: Duration::from_mins(2),
            bind_deadline: Duration::from_mins(2),
        }
    }

    /// The labels and annotations that everything of this populator carries.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(&self.prefix, &self.source_namespace_annotation)
    }
}
