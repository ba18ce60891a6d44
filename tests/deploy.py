"""Checks the compose file as far as parsing goes: no container engine is needed."""

import pathlib
import re
import sys

import yaml

root = pathlib.Path(__file__).resolve().parent.parent
compose = yaml.safe_load((root / "deploy" / "compose.yaml").read_text())
wrong = []
for name, service in compose["services"].items():
    image = service.get("image", "")
    if not re.fullmatch(r"[\w./-]+:[\w.-]+", image) or image.endswith(":latest"):
        wrong.append(f"{name}: the image must have a version: {image!r}")
    if "healthcheck" not in service:
        wrong.append(f"{name}: no health check")
    for mount in service.get("volumes", []):
        volume = mount.split(":")[0]
        if not volume.startswith((".", "/")) and volume not in compose.get("volumes", {}):
            wrong.append(f"{name}: the volume {volume} is not declared")
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            wrong.append(f"{name}: port {port} is open to everybody")
for needed in ("redpanda", "postgres"):
    if needed not in compose["services"]:
        wrong.append(f"there is no service {needed}")

units = sorted((root / "deploy" / "systemd").glob("*.service"))
for unit in units:
    text = unit.read_text()
    for key in ("ExecStart=", "Restart=", "User=", "LimitNOFILE="):
        if key not in text:
            wrong.append(f"{unit.name}: no {key}")

for line in wrong:
    print(line)
print(f"{len(compose['services'])} containers, {len(units)} units, {len(wrong)} wrong")
sys.exit(bool(wrong))
