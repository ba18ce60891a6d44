"""Holds the dependencies of our crates to what deny.toml says: a banned crate is used only by its wrappers.

The same as `cargo deny check bans`, for our own crates' direct dependencies, without having to install it.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

root = pathlib.Path(__file__).resolve().parent.parent
bans = tomllib.loads((root / "deny.toml").read_text())["bans"]["deny"]
wrappers = {ban["crate"].split("@")[0]: set(ban.get("wrappers", [])) for ban in bans}
metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=root, check=True, capture_output=True,
    ).stdout
)
wrong = [
    f"{package['name']} depends on {dependency['name']}, which only {', '.join(sorted(wrappers[dependency['name']]))} may"
    for package in metadata["packages"]
    for dependency in package["dependencies"]
    if dependency["name"] in wrappers and package["name"] not in wrappers[dependency["name"]]
]

# Calls point one way: the room server calls nobody, and services do not contain each other but in standalone.
services = {"plexus-roomserver", "plexus-clientapi", "plexus-sync", "plexus-federation", "plexus-media"}
for package in metadata["packages"]:
    if package["name"] in services:
        wrong += [
            f"{package['name']} depends on the service {dependency['name']}"
            for dependency in package["dependencies"]
            if dependency["name"] in services and dependency["kind"] != "dev"
        ]
        if package["name"] == "plexus-roomserver":
            wrong += [
                f"plexus-roomserver depends on {dependency['name']}: it calls nobody"
                for dependency in package["dependencies"]
                if dependency["name"] in {"plexus-input", "plexus-outbound", "plexus-s2s", "reqwest"} and dependency["kind"] != "dev"
            ]

    # Connections to strangers are made in one place, which refuses private addresses: no service brings a client of its own.
    if package["name"] in services | {"plexus-s2s", "plexus-matrix-http"}:
        wrong += [
            f"{package['name']} depends on {dependency['name']}: plexus-outbound connects to strangers"
            for dependency in package["dependencies"]
            if dependency["name"] in {"reqwest", "hickory-resolver"} and dependency["kind"] != "dev"
        ]

    # What judges servers from outside must not know them from inside.
    if package["name"] == "plexus-tests-conformance":
        wrong += [
            f"plexus-tests-conformance depends on {dependency['name']}: it speaks HTTP and nothing else"
            for dependency in package["dependencies"]
            if dependency["name"].startswith("plexus")
        ]

# `println!` panics when its reader has gone: `| head` is no failure. Commands print by the macros that know that.
printing = re.compile(r"\be?print(ln)?!\(")
for source in sorted(root.glob("*/*/src/**/*.rs")):
    if source.name in {"build.rs", "tests.rs"} or "tests" in source.relative_to(root).parts[3:]:
        continue
    code = source.read_text().split("#[cfg(test)]\nmod")[0]
    wrong += [
        f"{source.relative_to(root)}:{number} prints by {match.group()}…), which panics on a closed pipe"
        for number, line in enumerate(code.splitlines(), 1)
        if (match := printing.search(line)) and not line.lstrip().startswith("//")
    ]

# Licenses of all that is linked in are among those of [licenses]: the same as `cargo deny check licenses`.
allowed = set(tomllib.loads((root / "deny.toml").read_text())["licenses"]["allow"])


def is_allowed(expression: str) -> bool:
    """Reads an SPDX expression: AND binds closer than OR, and WITH belongs to its license."""
    expression = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    tokens = expression.split()

    def either() -> bool:
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both() -> bool:
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one() -> bool:
        if tokens[0] == "(":
            tokens.pop(0)
            result = either()
            tokens.pop(0)
            return result
        license = tokens.pop(0)
        if tokens and tokens[0] == "WITH":
            license = " ".join([license, tokens.pop(0), tokens.pop(0)])
        return license in allowed

    return either()


linked = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"],
        cwd=root, check=True, capture_output=True,
    ).stdout
)["packages"]
wrong += [
    f"{package['name']} {package['version']} is under {package['license']}, which deny.toml does not allow"
    for package in linked
    if package["source"] and not is_allowed(package["license"] or "no license")
]

for line in wrong:
    print(line)
print(f"{len(metadata['packages'])} packages, {len(wrappers)} guarded crates, {len(wrong)} wrong")
sys.exit(bool(wrong))
