//! How long, and how much.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What `--list` calls it, and whom it listens to.
pub(crate) const NAME: &str = "chaos";

/// Minutes and claims of a run beside all other tests.
const SHORT: (u64, usize) = (2, 24);
/// Those of a run that was asked for by its name.
const LONG: (u64, usize) = (20, 200);

/// The options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Say the name, and do nothing.
    pub(crate) list: bool,
    /// Whether it is asked for at all.
    pub(crate) wanted: bool,
    /// How long components are killed.
    pub(crate) span: Duration,
    /// How many claims are made meanwhile.
    pub(crate) claims: usize,
    /// What all choices come from; without it, the environment or a new one.
    pub(crate) seed: Option<u64>,
}

impl Options {
    /// Reads them; those that cargo and xtask give to every test mean nothing here.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let (mut list, mut filter, mut minutes, mut claims, mut seed) = (false, None, None, None, None);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let number = args.next().with_context(|| format!("{arg} needs a number"))?;
                number.parse().with_context(|| format!("{arg} is {number:?}, expected a number"))
            };
            match arg.as_str() {
                "--list" => list = true,
                "--minutes" => minutes = Some(number()?),
                "--claims" => claims = Some(usize::try_from(number()?)?),
                "--seed" => seed = Some(number()?),
                "--quiet" | "--nocapture" => {}
                other if other.starts_with("--test-threads") => {}
                other if other.starts_with('-') => {
                    bail!("unknown option {other}; known are --list, --minutes, --claims and --seed")
                }
                name => filter = Some(name.to_owned()),
            }
        }
        let (most_minutes, most_claims) = if filter.as_deref() == Some(NAME) { LONG } else { SHORT };
        Ok(Self {
            list,
            wanted: filter.is_none_or(|filter| NAME.contains(&filter)),
            span: Duration::from_mins(minutes.unwrap_or(most_minutes)),
            claims: claims.unwrap_or(most_claims),
            seed,
        })
    }
}
