# Sourced by the start commands of Plexus. They configure a server on the first call, then run it in the foreground;
# called again with the same environment, they start the same server again.
#
# The environment (the same for every homeserver under test):
#   SERVER_NAME                 server name
#   STATE_DIR                   a folder of the server's own, kept from stop to start
#   INSTANCE                    a name unique in the run, used for the database and for topics
#   CLIENT_ADDRESS              IP:PORT of the client API, plain HTTP
#   FEDERATION_ADDRESS          IP:PORT of the server-server API; port 18448 of the same address by default
#   TLS_CERT, TLS_KEY           certificate chain to show other servers, and its key, PEM; without them it is plain HTTP
#   CA_CERT                     authority that vouches for other servers; that of this folder by default
#   REGISTRATION_SHARED_SECRET  for /_synapse/admin/v1/register
#   PGHOST, PGUSER              the Postgres cluster
#   PLEXUS_BIN_DIR              folder of the binaries
#   PLEXUS_ROOM_VERSION         default room version (11: what common test suites expect)
# shellcheck shell=bash
set -euo pipefail
cd "$STATE_DIR"
address=${CLIENT_ADDRESS%:*}
federation_listen="address = \"${FEDERATION_ADDRESS:-$address:18448}\""
[[ -z ${TLS_CERT:-} ]] || federation_listen+=", tls_certificate = \"$TLS_CERT\", tls_key = \"$TLS_KEY\""
authority=${CA_CERT:-$repository/tests/servers/authority.pem}
bin=${PLEXUS_BIN_DIR:?}

# Makes the database and plexus.toml, if they are not there; what comes on the input is added to it.
configure() {
  [[ ! -e plexus.toml ]] || return 0
  # The input is read before anything is started that could read it instead.
  local rest
  rest=$(cat)
  createdb "$INSTANCE" </dev/null
  {
    cat <<TOML
[server]
name = "$SERVER_NAME"
signing_key = "$STATE_DIR/signing.key"
default_room_version = "${PLEXUS_ROOM_VERSION:-11}"

[postgres]
url = "postgres:///$INSTANCE?host=$PGHOST&user=$PGUSER"

[registration]
open = true
guests = true
shared_secret = "${REGISTRATION_SHARED_SECRET:-}"

[auth]
argon2_memory_kib = 64
argon2_iterations = 1

[rate_limits]
enabled = false

TOML
    printf '%s\n' "$rest"
  } >plexus.toml.new
  mv plexus.toml.new plexus.toml
}
