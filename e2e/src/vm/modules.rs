//! Kernel modules in the order in which they load.
//!
//! A kernel package's dependency list (`modules.dep`) is only made when it is installed, so it is read where depmod
//! reads it: in each module's `.modinfo` section, `depends=a,b` between two zero bytes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// The modules that a module names as needed before it.
pub(super) fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let list = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    list.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

/// A module's name from its file name: the kernel writes `_` where the file has `-`.
pub(super) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// `wanted` and all that they need, what is needed first. What is not among `known` modules is built into the kernel.
///
/// # Errors
/// When modules need each other.
pub(super) fn load_order(wanted: &[&str], known: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>> {
    let mut order = Vec::new();
    for name in wanted {
        visit(name, known, &mut order, known.len())?;
    }
    Ok(order)
}

fn visit(name: &str, known: &BTreeMap<String, Vec<String>>, order: &mut Vec<String>, depth: usize) -> Result<()> {
    let Some(needs) = known.get(name) else {
        return Ok(());
    };
    if order.iter().any(|loaded| loaded == name) {
        return Ok(());
    }
    let depth = depth.checked_sub(1).with_context(|| format!("the kernel module {name} needs itself"))?;
    for need in needs {
        visit(need, known, order, depth)?;
    }
    order.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
