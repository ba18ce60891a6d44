#!/usr/bin/env python3
"""Prints the test executables of packages, one a line: folder of the package, a tab, path of the executable.

Reads what `cargo build --message-format=json` wrote. `--except` turns the list of packages around.
"""

import json
import pathlib
import sys


def main() -> None:
    artifacts, *names = sys.argv[1:]
    inverted = names[:1] == ["--except"]
    wanted = set(names[1:] if inverted else names)
    found = set()
    with open(artifacts, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line) if line.startswith("{") else {}
            if message.get("reason") != "compiler-artifact" or not message["profile"]["test"]:
                continue
            # Benchmarks are built so that they keep compiling; their figures mean nothing here.
            if "bench" in message["target"]["kind"]:
                continue
            folder = pathlib.Path(message["manifest_path"]).parent
            name = message["package_id"].rsplit("/", 1)[-1].split("#")[-1].split("@")[0]
            if not name.startswith("plexus"):
                name = package_name(folder)
            if message.get("executable") and (name in wanted) != inverted:
                found.add(name)
                print(f"{folder}\t{message['executable']}")
    missing = set() if inverted else wanted - found
    if missing:
        sys.exit(f"no tests of {', '.join(sorted(missing))}")


def package_name(folder: pathlib.Path) -> str:
    """The name in a package's manifest."""
    for line in (folder / "Cargo.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("name = "):
            return line.split('"')[1]
    sys.exit(f"{folder}/Cargo.toml has no name")


main()
