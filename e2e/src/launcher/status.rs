//! What runs, for a person.

use std::fmt::Write as _;

use anyhow::Result;

use super::cgroup::Cgroup;
use super::process::Supervisor;
use super::remains;
use crate::instance::Instance;

/// One line for each component; or what a cluster that is not up left behind.
///
/// # Errors
/// When the machine cannot be inspected.
pub fn status(instance: &Instance) -> Result<String> {
    let mut text =
        format!("cluster {} ({}), state in {}\n", instance.name(), instance.range(), instance.state().display());
    if !instance.state().exists() {
        let remains = remains(instance)?;
        text.push_str(if remains.is_empty() { "  down\n" } else { "  down, but not clean; `cluster down` removes:\n" });
        for line in remains {
            let _ = writeln!(text, "    {line}");
        }
        return Ok(text);
    }
    let supervisor = Supervisor::new(instance, &Cgroup::of(instance)?)?;
    for name in supervisor.names() {
        let state = supervisor.pid(&name).map_or_else(|| "ended".to_owned(), |pid| format!("running, process {pid}"));
        let _ = writeln!(text, "  {name:<28} {state}, log {}", supervisor.log(&name).display());
    }
    Ok(text)
}
