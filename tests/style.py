"""Holds what the code looks like: the length of files, how docs begin, and names that were given up for the specification's.

Only what a reader would otherwise have to ask for at each review; formatting and lints are other parts of tests/run.
"""

import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
listed = subprocess.run(["git", "ls-files", "*.rs"], cwd=root, check=True, capture_output=True, text=True).stdout
sources = [pathlib.Path(name) for name in listed.splitlines() if (root / name).exists()]
wrong: list[str] = []


def is_test(path: pathlib.Path) -> bool:
    return path.parts[0] == "tests" or "tests" in path.parts or path.name == "tests.rs" or path.name.endswith("_tests.rs")


# Files hold one idea. What Diesel prints is as long as the schema.
MOST_LINES = 400
for path in sources:
    lines = (root / path).read_text().count("\n")
    if lines > MOST_LINES and not is_test(path) and path.name != "schema.rs":
        wrong.append(f"{path} has {lines} lines: more than {MOST_LINES} are two ideas")
    if path.name == "mod.rs":
        wrong.append(f"{path}: a module lies beside its folder, as {path.parent}.rs")

# Docs of modules begin with a verb or a noun of the field.
VAGUE = re.compile(r"//! (What|Who|Whoever|How|Those|That|Which|Where|Whether)\b")
for path in sources:
    text = (root / path).read_text()
    if path.name in ("lib.rs", "main.rs") and "src" in path.parts and not text.startswith("//!"):
        wrong.append(f"{path} does not say what the crate is for")
    if path.parts[0] != "tests" and VAGUE.match(text):
        wrong.append(f"{path}: its first line opens with a relative clause: {text.splitlines()[0]}")

# Names that meant something here alone, and the ones of the field in their place.
GIVEN_UP = {
    r"At2": "ExtremityContext",
    r"OnlyFront|GetFront|resolve_front|front_with": "forward extremities",
    r"Foresight|foresee": "Prefetch",
    r"Aside|bulk_owes": "BulkLane, bulk_cooldown",
    r"HoldSessions|holders\.rs": "LeaseSessions, session_leases.rs",
    r"Authors": "AuthEvents",
    r"Told": "RemoteState, SnapshotRows, RenderedRoom",
    r"Passerby|Standing": "Access, Disposition",
    r"sharpen": "add_memberships_at",
    r"make_place": "evict",
}
for path in sources:
    if path.parts[0] == "tests":
        continue
    for number, line in enumerate((root / path).read_text().splitlines(), 1):
        code = line.split("//")[0]
        for name, better in GIVEN_UP.items():
            if re.search(rf"\b({name})\b", code):
                wrong.append(f"{path}:{number}: {line.strip()}: the name for it is {better}")

for line in wrong:
    print(line)
print(f"{len(sources)} files, {len(wrong)} wrong")
sys.exit(bool(wrong))
