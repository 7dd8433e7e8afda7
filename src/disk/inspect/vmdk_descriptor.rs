//! The text of a vmdk descriptor ("The Descriptor File" in Virtual Disk Format 1.1).
//!
//! QEMU searches the text for words wherever they stand and opens the files that extents name; so every line has to be
//! understood here, or the image is refused.

use super::vmdk::{NAME, VmdkSubformat};
use crate::{
    Refusal,
    error::{Reason, quote},
};

/// What a descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) subformat: VmdkSubformat,
    /// The size of the one extent.
    pub(super) sectors: u64,
}

const NO_PARENT: &str = "ffffffff";

fn refuse(reason: Reason, field: &'static str, found: &[u8], expected: &str) -> Refusal {
    Refusal::new(reason, NAME, field, quote(found), expected)
}

impl Descriptor {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = text(bytes)?;
        let mut create_type = None;
        let mut extent = None;
        let mut seen: Vec<String> = Vec::new();
        for line in text.split(['\n', '\r']).map(str::trim) {
            if line.is_empty() {
                continue;
            }
            if let Some(comment) = line.strip_prefix('#') {
                // A reader that searches for words would find them in a comment too.
                if comment.contains('=') {
                    return Err(refuse(
                        Reason::BadHeader,
                        "descriptor comment",
                        line.as_bytes(),
                        "no assignment in a comment",
                    ));
                }
                continue;
            }
            if let Some(sectors) = extent_line(line)? {
                if extent.replace(sectors).is_some() {
                    return Err(refuse(
                        Reason::ExternalExtent,
                        "descriptor extent",
                        line.as_bytes(),
                        "one extent alone",
                    ));
                }
                continue;
            }
            let (key, value) = assignment(line)?;
            if seen.contains(&key) {
                return Err(refuse(Reason::BadHeader, "descriptor line", line.as_bytes(), "each key once"));
            }
            if key == "createtype" {
                create_type = Some(subformat(value)?);
            }
            seen.push(key);
        }
        let missing = |field, expected: &str| Refusal::new(Reason::BadHeader, NAME, field, "none", expected);
        Ok(Self {
            subformat: create_type.ok_or_else(|| missing("createType", "monolithicSparse or streamOptimized"))?,
            sectors: extent.ok_or_else(|| missing("descriptor extent", "one sparse extent"))?,
        })
    }
}

/// The descriptor without its padding: text up to the first zero.
///
/// QEMU rewrites a descriptor in place. When its CID gets shorter, up to seven bytes of the old text stay behind the
/// new one's zero; nobody reads them.
fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    const RESIDUE: usize = 8;
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, padding) = bytes.split_at(length);
    let clean = crate::zero::is_zero(padding.get(RESIDUE..).unwrap_or_default())
        && text.iter().all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r') || !byte.is_ascii_control());
    match std::str::from_utf8(text) {
        Ok(text) if clean => Ok(text),
        _ => Err(refuse(Reason::BadHeader, "descriptor", text, "text, padded with zeros")),
    }
}

/// `key = value`, with a key that a disk in one file may have.
fn assignment(line: &str) -> Result<(String, &str), Refusal> {
    const EXPECTED: &str = "a comment, an extent, or an assignment to a known key";
    let unknown = || refuse(Reason::UnsupportedFeature, "descriptor line", line.as_bytes(), EXPECTED);
    let (key, value) = line.split_once('=').ok_or_else(unknown)?;
    let key = key.trim().to_ascii_lowercase();
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    match key.as_str() {
        "version" | "encoding" | "cid" | "isnativesnapshot" | "createtype" => {}
        "parentcid" if value.eq_ignore_ascii_case(NO_PARENT) => {}
        "parentcid" | "parentfilenamehint" => {
            return Err(refuse(Reason::BackingFile, "parentCID", line.as_bytes(), "ffffffff (no parent)"));
        }
        "changetrackpath" => {
            return Err(refuse(Reason::ExternalExtent, "changeTrackPath", line.as_bytes(), "none"));
        }
        _ if key.starts_with("ddb.") && !key.contains(char::is_whitespace) => {}
        _ => return Err(unknown()),
    }
    if value.contains(['"', '=']) {
        return Err(refuse(Reason::BadHeader, "descriptor line", line.as_bytes(), "one assignment a line"));
    }
    Ok((key, value))
}

fn subformat(value: &str) -> Result<VmdkSubformat, Refusal> {
    if value.eq_ignore_ascii_case("monolithicSparse") {
        return Ok(VmdkSubformat::MonolithicSparse);
    }
    if value.eq_ignore_ascii_case("streamOptimized") {
        return Ok(VmdkSubformat::StreamOptimized);
    }
    let lower = value.to_ascii_lowercase();
    let elsewhere = ["flat", "gbmaxextent", "device", "custom"].iter().any(|word| lower.contains(word));
    let reason = if elsewhere { Reason::ExternalExtent } else { Reason::UnsupportedFormat };
    Err(refuse(reason, "createType", value.as_bytes(), "monolithicSparse or streamOptimized"))
}

/// `ACCESS SECTORS TYPE "NAME"`; `None` when the line is none of these.
fn extent_line(line: &str) -> Result<Option<u64>, Refusal> {
    let mut words = line.splitn(4, char::is_whitespace).map(str::trim);
    let access = words.next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(access.as_str(), "RW" | "RDONLY" | "NOACCESS") {
        return Ok(None);
    }
    let wrong = |expected: &str| Err(refuse(Reason::ExternalExtent, "descriptor extent", line.as_bytes(), expected));
    let (sectors, kind, name) = (words.next(), words.next(), words.next());
    let Some(Ok(sectors)) = sectors.map(str::parse::<u64>) else {
        return wrong("a number of sectors");
    };
    if access == "NOACCESS" || !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("SPARSE")) {
        return wrong("an extent of type SPARSE that may be read");
    }
    let name = name.and_then(|name| name.strip_prefix('"')?.strip_suffix('"')).unwrap_or_default();
    // The name is the image's own, under which it was made: a plain one, no path, no protocol.
    if name.is_empty() || name.contains(['/', '\\', ':', '"']) || name == ".." {
        return wrong("the plain name of this file itself");
    }
    Ok(Some(sectors))
}

#[cfg(test)]
#[path = "vmdk_descriptor_tests.rs"]
mod tests;
