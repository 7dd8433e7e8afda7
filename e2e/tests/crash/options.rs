//! What to try.

use anyhow::{Context as _, Result, bail};

use crate::lives::Life;

/// What may happen in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The controller is killed before and after each write.
    Kills,
    /// Each write meets each fault of the API server.
    Faults,
    /// The view of each resource is stale.
    Views,
    /// There are two leaders.
    Leaders,
}

/// The options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Name the lives, and do nothing.
    pub(crate) list: bool,
    /// Lives whose name contains this.
    filter: Option<String>,
    /// All lives, and everything in each.
    long: bool,
    /// How many stages there are beside each other.
    pub(crate) stages: usize,
    /// How often each life is gone through undisturbed.
    pub(crate) calm: usize,
    /// What is tried.
    pub(crate) kinds: Vec<Kind>,
}

impl Options {
    /// Reads them; those that cargo and xtask give to every test mean nothing here.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self { list: false, filter: None, long: false, stages: 2, calm: 1, kinds: Vec::new() };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => options.list = true,
                "--long" => options.long = true,
                "--stages" => options.stages = number(&arg, args.next())?,
                "--calm" => options.calm = number(&arg, args.next())?,
                "--kills" => options.kinds.push(Kind::Kills),
                "--faults" => options.kinds.push(Kind::Faults),
                "--views" => options.kinds.push(Kind::Views),
                "--leaders" => options.kinds.push(Kind::Leaders),
                "--quiet" | "--nocapture" => {}
                other if other.starts_with("--test-threads") => {}
                other if other.starts_with('-') => bail!(
                    "unknown option {other}; known are --list, --long, --stages, --calm, \
                                                          --kills, --faults, --views and --leaders"
                ),
                filter => options.filter = Some(filter.to_owned()),
            }
        }
        if options.kinds.is_empty() && options.calm == 1 {
            options.kinds.push(Kind::Kills);
            if options.long {
                options.kinds.extend([Kind::Faults, Kind::Views, Kind::Leaders]);
            }
        }
        Ok(options)
    }

    /// Whether a life is to be tried.
    #[must_use]
    pub(crate) fn wants(&self, life: &Life) -> bool {
        match &self.filter {
            Some(filter) => life.name.contains(filter.as_str()),
            None => life.short || self.long,
        }
    }
}

fn number(option: &str, value: Option<String>) -> Result<usize> {
    let value = value.with_context(|| format!("{option} needs a number"))?;
    value.parse().with_context(|| format!("{option} is {value:?}, expected a number"))
}
