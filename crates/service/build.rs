//! Tells the build its commit: `PLEXUS_COMMIT`, or what git says of a release build.
//!
//! Other builds do not ask git: each commit would compile again whatever uses this crate.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PLEXUS_COMMIT");
    let told = env::var("PLEXUS_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(of_release).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=PLEXUS_BUILT_FROM={commit}");
}

/// The commit that is checked out, if this is a release build of a checkout.
fn of_release() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" {
        return Some("development".to_owned());
    }
    // A copy of the sources may lie in another repository.
    if git(&["rev-parse", "--show-prefix"])? != "crates/service/" {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    // What says which commit that is: HEAD, and the branch that it names.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let file = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    Some(commit)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
