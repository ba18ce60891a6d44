//! Finds the configuration of the server that is meant.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::bail;

/// Programs that serve operators.
const SERVERS: [&str; 2] = ["plexus-standalone", "plexus-roomserver"];
/// Where packages have it, and the folders of `deploy/quickstart` and `deploy/mesh/run` if they are run as root.
const USUAL: [&str; 3] =
    ["/etc/plexus/plexus.toml", "/var/lib/plexus/plexus.toml", "/var/lib/plexus-mesh/plexus.toml"];

/// Finds the file: `plexus.toml` here; else that of a running server; else one in the usual places.
pub(crate) fn configuration() -> anyhow::Result<PathBuf> {
    let here = Path::new("plexus.toml");
    if here.is_file() {
        return Ok(here.to_owned());
    }
    only(running(Path::new("/proc")), "servers run here", usual())
}

/// The only running one, or the only one in the usual places.
fn only(running: BTreeSet<PathBuf>, which: &str, usual: Vec<PathBuf>) -> anyhow::Result<PathBuf> {
    let found: Vec<PathBuf> = if running.is_empty() { usual } else { running.into_iter().collect() };
    match found.as_slice() {
        [] => bail!(
            "there is no plexus.toml here, no server runs that this user may look at, and there is none in the usual \
             places: name the configuration by --config or PLEXUS_CONFIG"
        ),
        [file] => Ok(file.clone()),
        several => {
            let list: Vec<String> = several.iter().map(|file| format!("\n  {}", file.display())).collect();
            bail!("several {which}: choose the configuration by --config or PLEXUS_CONFIG:{}", list.concat())
        }
    }
}

/// The configurations that the command lines of running servers name.
fn running(proc: &Path) -> BTreeSet<PathBuf> {
    let processes = fs::read_dir(proc).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    processes.filter_map(|process| of_process(&process)).collect()
}

fn of_process(process: &Path) -> Option<PathBuf> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| Path::new(std::ffi::OsStr::from_bytes(word)));
    let program = words.next()?.file_name()?.to_str()?;
    if !SERVERS.contains(&program) {
        return None;
    }
    let mut named = Path::new("plexus.toml");
    while let Some(word) = words.next() {
        match word.as_os_str().to_str() {
            Some("--config") => named = words.next()?,
            Some(word) => named = word.strip_prefix("--config=").map_or(named, Path::new),
            None => {}
        }
    }
    let folder = fs::read_link(process.join("cwd"));
    let file = if named.is_absolute() { named.to_owned() } else { folder.ok()?.join(named) };
    file.is_file().then_some(file)
}

fn usual() -> Vec<PathBuf> {
    let home = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/share")));
    let ours = ["plexus/plexus.toml", "plexus-mesh/plexus.toml"];
    let ours = home.into_iter().flat_map(|home| ours.map(|file| home.join(file)));
    ours.chain(USUAL.map(PathBuf::from)).filter(|file| file.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, number: &str, words: &[&str], folder: &Path) {
        let process = proc.join(number);
        fs::create_dir(&process).unwrap();
        fs::write(process.join("cmdline"), words.join("\0") + "\0").unwrap();
        std::os::unix::fs::symlink(folder, process.join("cwd")).unwrap();
    }

    #[test]
    fn servers_that_run_name_their_configurations() {
        let (proc, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (proc, folder) = (proc.path(), folder.path());
        for file in ["plexus.toml", "a.toml", "b.toml"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let a = folder.join("a.toml");
        process(proc, "1", &["/sbin/init"], folder);
        process(proc, "2", &["/usr/bin/plexus-standalone", "--config", a.to_str().unwrap()], Path::new("/"));
        process(proc, "3", &["plexus-roomserver", "--config=b.toml"], folder);
        process(proc, "4", &["./plexus-roomserver"], folder);
        process(proc, "5", &["plexus-sync", "--config", "gone.toml"], folder);
        process(proc, "6", &["plexus-standalone", "--config", "gone.toml"], folder);
        let expected = ["a.toml", "b.toml", "plexus.toml"].map(|file| folder.join(file));
        assert_eq!(running(proc).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_choice_is_left_to_the_operator() {
        let (a, b) = (PathBuf::from("/a"), PathBuf::from("/b"));
        let find = |running: &[&PathBuf], usual: &[&PathBuf]| {
            let usual = usual.iter().copied().cloned().collect();
            only(running.iter().copied().cloned().collect(), "servers run", usual)
        };
        assert_eq!(find(&[&a], &[&b]).unwrap(), a);
        assert_eq!(find(&[], &[&b]).unwrap(), b);
        let several = find(&[&a, &b], &[]).unwrap_err().to_string();
        assert!(several.contains("/a") && several.contains("/b"), "{several}");
        assert!(find(&[], &[]).unwrap_err().to_string().contains("PLEXUS_CONFIG"));
    }
}
