#!/usr/bin/env python3
"""plexus-standalone and Synapse on one machine, each by its documented configuration, with certificates of an authority
that exists for this run: they must find and believe each other.

    tests/federation/real_peers.py SCRATCH

The environment is that of the start commands in tests/servers (PGHOST, PGUSER, PLEXUS_BIN_DIR, SYNAPSE_PYTHON). Standard
library only. Prints each step; the exit code tells whether all held.
"""

import ssl
import sys
from pathlib import Path

from servers import Authority, Server, address, admin, ask, quote, run


class World:
    """Both servers, and who is there."""

    def __init__(self, scratch):
        authority = Authority(scratch)
        self.plexus = Server("standalone", address(91), authority)
        self.synapse = Server("synapse", address(92), authority)


def keys(world):
    """Each server tells its keys over TLS, to whoever trusts the authority."""
    context = ssl.create_default_context(cafile=world.plexus.authority.file)
    for server in (world.plexus, world.synapse):
        status, answer = ask(f"https://{server.name}/_matrix/key/v2/server", context=context)
        assert status == 200 and answer["server_name"] == server.name and answer["verify_keys"], answer


def check(world):
    """The operator's command finds the other server, step by step, and is believed."""
    is_content, told = admin(world.plexus, "federation", "check", world.synapse.name)
    assert is_content, told
    for line in ("delegation  none", "TLS", "version", "key         ed25519:", "signature   accepted"):
        assert line in told, told


def queries(world):
    """Synapse asks a signed question, and is believed."""
    alice, bob = world.plexus.user("alice"), world.synapse.user("bob")
    alice.ask("PUT", f"v3/profile/{quote(alice.id)}/displayname", {"displayname": "Alice"})
    answer = bob.ask("GET", f"v3/profile/{quote(alice.id)}")
    assert answer.get("displayname") == "Alice", answer


world = World(Path(sys.argv[1]).resolve())
sys.exit(run([keys, check, queries], world, [world.plexus, world.synapse]))
