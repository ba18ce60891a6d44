//! CPU time and memory of processes, from `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// Ticks a second in `/proc`; fixed on Linux, whatever the kernel's own.
const TICKS: f64 = 100.0;
const PAGE_MIB: f64 = 4096.0 / (1024.0 * 1024.0);

/// What processes have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU seconds.
    pub(crate) cpu_s: f64,
    /// Memory in MiB. Pages that processes share count for each.
    pub(crate) resident_mib: f64,
}

struct Process {
    parent: u32,
    ticks: u64,
    pages: u64,
}

/// What these processes and all their descendants have used, ended children included.
pub(crate) fn usage(roots: &[u32]) -> Usage {
    let all = processes();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, process) in &all {
        children.entry(process.parent).or_default().push(*pid);
    }
    let (mut seen, mut waiting) = (HashSet::new(), roots.to_vec());
    let mut usage = Usage::default();
    while let Some(pid) = waiting.pop() {
        if !seen.insert(pid) {
            continue;
        }
        if let Some(process) = all.get(&pid) {
            #[expect(clippy::cast_precision_loss, reason = "ticks and pages are far below 2^52")]
            {
                usage.cpu_s += process.ticks as f64 / TICKS;
                usage.resident_mib += process.pages as f64 * PAGE_MIB;
            }
        }
        waiting.extend(children.get(&pid).into_iter().flatten());
    }
    usage
}

/// What this process has used.
pub(crate) fn own() -> Usage {
    usage(&[std::process::id()])
}

fn processes() -> HashMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse(&stat)?))
        })
        .collect()
}

/// Parses `/proc/PID/stat`; the name in parentheses may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        // utime, stime, and those of children that were waited for.
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stat_line_is_read_from_behind_the_name() {
        let stat = "12 (a) b) S 7 12 12 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 100 1000000 256 18446744073709551615";
        let process = super::parse(stat).unwrap();
        assert_eq!((process.parent, process.ticks, process.pages), (7, 37, 256));
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(super::own().resident_mib > 0.0);
    }
}
