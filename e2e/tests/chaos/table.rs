//! What happened, as a table. Pure.

use std::fmt::Write as _;

use crate::claims::Claim;
use crate::judge::Verdict;
use crate::kills::Kills;
use crate::options::Options;

/// The figures as a Markdown table.
pub(crate) fn table(options: &Options, kills: &Kills, claims: &[Claim], verdict: &Verdict) -> String {
    let mut rows = vec![("killed", format!("{} in {} minutes", kills.total(), options.span.as_secs() / 60))];
    for (what, count) in &kills.of {
        let deleted =
            if *what == "controller" { format!(", {} of them as a pod", kills.deleted) } else { String::new() };
        rows.push((what, format!("{count}{deleted}")));
    }
    let ended: Vec<String> = kills.ended.iter().map(|(name, count)| format!("{name} {count}")).collect();
    rows.push(("ended by themselves", if ended.is_empty() { "none".to_owned() } else { ended.join(", ") }));
    let going = claims.iter().filter(|claim| !claim.stays());
    let early = going.clone().filter(|claim| claim.bound_after.is_none()).count();
    let going = going.count();
    rows.push(("claims", format!("{}, {going} of them deleted, {early} before they were bound", claims.len())));
    let longest = claims.iter().filter_map(|claim| Some((claim.bound_after?, claim))).max_by_key(|(time, _)| *time);
    rows.push((
        "longest time to Bound",
        longest.map_or_else(String::new, |(time, claim)| {
            format!("{:.0} s ({}, {:?})", time.as_secs_f64(), claim.name, claim.plan.source)
        }),
    ));
    let Verdict { attempts, interruptions, most_attempts, .. } = verdict;
    let attempts = format!("{attempts}, {interruptions} of them interrupted; {most_attempts} of one claim at most");
    rows.push(("attempts", attempts));
    let fetched = format!("{}, paid for by count {}", mebibytes(verdict.fetched), mebibytes(verdict.paid));
    rows.push(("bytes fetched", fetched));
    let Verdict { held, left, .. } = verdict;
    rows.push(("left of ours", left.ours.len().to_string()));
    let after = format!("{}, and {} when it had to let go", held.held.len(), left.held.len());
    rows.push(("released volumes that a killed kubelet held", after));
    rows.push(("volumes that a killed provisioner forgot", left.unknown.len().to_string()));
    let mut text = "| figure | measured |\n|---|---|\n".to_owned();
    for (figure, measured) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {figure} | {measured} |");
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
