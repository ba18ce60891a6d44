//! `docs/limits.md` against the defaults of the configuration and the constants of the crates.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::Config;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PAGE: &str = include_str!("../../../../docs/limits.md");

/// Rows of the tables: the value, and where it is set.
fn rows() -> Vec<(String, String)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = PAGE.lines().filter(|line| line.starts_with("| ")).map(cells);
    let rows = rows.filter(|cells| cells[2] != "value" && !cells[2].starts_with("---"));
    rows.map(|cells| (cells[2].clone(), cells[3].trim_matches('`').to_owned())).collect()
}

fn defaults() -> toml::Value {
    let config: Config = toml::from_str("[server]\nname = \"test\"").unwrap();
    toml::Value::try_from(config).unwrap()
}

/// The value of a key as the page writes it.
fn shown(value: &toml::Value) -> String {
    let number = |value: &toml::Value| match value {
        toml::Value::Float(number) => number.to_string(),
        other => other.to_string(),
    };
    match value.get("per_second") {
        Some(per_second) => format!("{}, {}", number(per_second), number(&value["burst"])),
        None => number(value),
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The constants of a crate, by name, each with the values that it has there.
fn constants(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let parent = ["services", "crates"].into_iter().map(|parent| Path::new(ROOT).join(parent).join(name));
    let folder =
        parent.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| panic!("no crate {name}"));
    let mut files = Vec::new();
    sources(&folder.join("src"), &mut files);
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files {
        for line in fs::read_to_string(file).unwrap().lines() {
            let Some((_, rest)) = line.split_once("const ") else { continue };
            let Some((constant, rest)) = rest.split_once(": ") else { continue };
            let Some((_, value)) = rest.split_once(" = ") else { continue };
            if let Some(value) = evaluated(value.trim_end_matches(';')) {
                found.entry(constant.to_owned()).or_default().insert(value);
            }
        }
    }
    found
}

/// What an expression comes to: a number, seconds, or a pair; `None` if it is something else.
fn evaluated(expression: &str) -> Option<String> {
    let inner = expression.strip_prefix("Duration::from_secs").unwrap_or(expression);
    let parts = inner.split(',').map(|part| {
        let plain = part.replace(['(', ')', '_'], "");
        let (plain, minus) = match plain.trim().strip_suffix("- 1") {
            Some(shift) => (shift.trim().to_owned(), 1),
            None => (plain.trim().to_owned(), 0),
        };
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let value = match plain.split_once("<<") {
            Some((left, right)) => number(left)?.checked_shl(u32::try_from(number(right)?).ok()?),
            None => plain.split('*').try_fold(1, |product: u64, factor| product.checked_mul(number(factor)?)),
        };
        Some((value? - minus).to_string())
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join(", "))
}

#[test]
fn the_page_has_the_values_of_the_code() {
    let defaults = defaults();
    let mut crates = BTreeMap::new();
    for (value, place) in rows() {
        if let Some((name, constant)) = place.split_once("::") {
            let constants = crates.entry(name.to_owned()).or_insert_with(|| constants(name));
            let known = constants.get(constant).unwrap_or_else(|| panic!("there is no constant {place}"));
            assert!(known.contains(&value), "{place} is {known:?}, not {value}");
        } else {
            let found = place.split('.').try_fold(&defaults, |table, key| table.get(key));
            let found = found.unwrap_or_else(|| panic!("there is no key {place}"));
            assert_eq!(shown(found), value, "{place}");
        }
    }
}

#[test]
fn the_page_has_every_limit() {
    let places: BTreeSet<_> = rows().into_iter().map(|(_, place)| place).collect();
    let defaults = defaults();
    for table in ["http", "rate_limits"] {
        for key in defaults[table].as_table().unwrap().keys() {
            let place = format!("{table}.{key}");
            assert!(
                places.contains(&place) || PAGE.contains(&format!("`{place}`")) || key == "enabled",
                "{place}"
            );
        }
    }
    for name in ["clientapi", "matrix-http"] {
        for constant in constants(name).keys().filter(|constant| constant.starts_with("MAX_")) {
            let place = format!("{name}::{constant}");
            assert!(places.contains(&place) || PAGE.contains(&format!("`{constant}`")), "{place}");
        }
    }
}
