//! CPU time and memory of processes, from `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// Ticks a second in `/proc`; fixed on Linux, whatever the kernel's own.
const TICKS: f64 = 100.0;

struct Process {
    parent: u32,
    ticks: u64,
}

/// CPU seconds that these processes and all their descendants have used, ended children included.
#[must_use]
pub fn cpu_s(roots: &[u32]) -> f64 {
    let all = processes();
    let ticks: u64 =
        family(roots, &all).iter().filter_map(|pid| all.get(pid)).map(|process| process.ticks).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
    let ticks = ticks as f64;
    ticks / TICKS
}

/// CPU seconds that this process has used.
#[must_use]
pub fn own_cpu_s() -> f64 {
    cpu_s(&[std::process::id()])
}

/// Memory of these processes and all their descendants in MiB. Of pages that several processes share, each counts its
/// part.
#[must_use]
pub fn memory_mib(roots: &[u32]) -> f64 {
    let kib = family(roots, &processes()).into_iter().filter_map(|pid| {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        field(&smaps, "Pss:")
    });
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
    let kib = kib.sum::<u64>() as f64;
    kib / 1024.0
}

/// Memory of this process in MiB: now, and the most it ever was.
#[must_use]
pub fn own_memory_mib() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (field(&status, "VmRSS:").unwrap_or(0) / 1024, field(&status, "VmHWM:").unwrap_or(0) / 1024)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// These processes and all their descendants.
fn family(roots: &[u32], all: &HashMap<u32, Process>) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, process) in all {
        children.entry(process.parent).or_default().push(*pid);
    }
    let (mut seen, mut waiting) = (HashSet::new(), roots.to_vec());
    while let Some(pid) = waiting.pop() {
        if seen.insert(pid) {
            waiting.extend(children.get(&pid).into_iter().flatten());
        }
    }
    seen
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
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stat_line_is_read_from_behind_the_name() {
        let stat = "12 (a) b) S 7 12 12 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 100 1000000 256 18446744073709551615";
        let process = super::parse(stat).unwrap();
        assert_eq!((process.parent, process.ticks), (7, 37));
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(super::memory_mib(&[std::process::id()]) > 0.0);
        assert!(super::own_memory_mib().0 > 0);
    }
}
