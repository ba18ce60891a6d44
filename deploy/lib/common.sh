# Sourced by the scripts in deploy/ and tests/: packages, building, processes, Postgres.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/plexus/target}

say() { echo "$(basename "$0"): $*" >&2; }
die() {
  say "$@"
  exit 1
}

# --- What the machine needs --------------------------------------------------------------------------------------

# need_packages PACKAGE...: installs Debian packages that are missing if we are root, else says what to do.
need_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    die "please install these packages first, as root: apt-get install ${missing[*]}"
  fi
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  say "installing ${missing[*]}"
  # Debian starts the services that it installs; we start our own, on our own data.
  local policy=/usr/sbin/policy-rc.d ours=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    ours=yes
  fi
  local done=yes
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
    >/dev/null || done=
  [[ -z $ours ]] || rm -f $policy
  [[ -n $done ]] || die "could not install ${missing[*]}"
}

need_rust() {
  [[ ! -f $HOME/.cargo/env ]] || . "$HOME/.cargo/env"
  local wanted found
  if command -v cargo >/dev/null; then
    wanted=$(rust_version) found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] \
      || die "Rust ${found:-without a version} is too old: version $wanted or later is needed, such as by: rustup update stable"
    return 0
  fi
  need_packages curl ca-certificates
  say "installing Rust into ~/.cargo by rustup"
  curl --proto '=https' -fsS https://sh.rustup.rs | sh -s -- -y -q --profile minimal -c rustfmt -c clippy >/dev/null \
    || die "could not install Rust: install version $(rust_version) or later (https://rustup.rs) and start again"
  . "$HOME/.cargo/env"
}

# The oldest Rust that compiles it.
rust_version() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml"; }

# What it takes to compile: librdkafka is C and links OpenSSL, Diesel links libpq.
need_build_tools() {
  need_packages build-essential pkg-config cmake libpq-dev libssl-dev
  need_rust
}

# Synapse, in a folder of Python's; SYNAPSE_PYTHON is its python.
need_synapse() {
  local version=1.163.2
  SYNAPSE_PYTHON=${XDG_CACHE_HOME:-$HOME/.cache}/plexus/venv-synapse/bin/python
  export SYNAPSE_PYTHON
  "$SYNAPSE_PYTHON" -c "import bs4, lxml, psycopg2, synapse; assert synapse.__version__ == '$version'" 2>/dev/null && return 0
  need_packages build-essential libpq-dev python3 python3-dev python3-venv
  say "installing Synapse $version"
  python3 -m venv "${SYNAPSE_PYTHON%/bin/python}" \
    && "$SYNAPSE_PYTHON" -m pip install -q --disable-pip-version-check "matrix-synapse[postgres,url-preview]==$version"
}

need_postgres() {
  pg_bin >/dev/null 2>&1 || need_packages postgresql
  local version
  version=$("$(pg_bin)/postgres" --version | sed -n 's/^[^0-9]*\([0-9]*\).*/\1/p')
  ((${version:-0} >= 14)) || die "PostgreSQL ${version:-of no known version} is too old: 14 or later is needed"
}

# build PROFILE PACKAGE...: builds and prints the folder with the binaries.
build() {
  local profile=$1 package arguments=() folder=$1
  shift
  for package in "$@"; do arguments+=(-p "$package"); done
  [[ $profile != release ]] || arguments+=(--release)
  (cd "$root" && cargo build --locked --bins "${arguments[@]}") >&2 || die "the build failed"
  echo "$CARGO_TARGET_DIR/$folder"
}

# --- Processes ---------------------------------------------------------------------------------------------------

# Starts a command in the background in a session of its own, so that Ctrl-C reaches only us and we decide the order in
# which things stop; it gets SIGNAL if we die without a word. Sets `started` to its process ID.
# start SIGNAL COMMAND...
start() {
  local signal=$1
  shift
  setsid setpriv --pdeathsig "$signal" -- "$@" &
  # shellcheck disable=SC2034 # for the caller
  started=$!
}

alive() { [[ -n ${1:-} ]] && kill -0 "$1" 2>/dev/null; }

# stop_process SIGNAL PID: signals it and waits for its end, 40 s at most.
stop_process() {
  alive "$2" || return 0
  kill "-$1" "$2" 2>/dev/null || return 0
  local tries=400
  while alive "$2" && ((tries-- > 0)); do sleep 0.1; done
  if alive "$2"; then
    say "process $2 does not stop, killing it"
    kill -KILL "$2" 2>/dev/null
  fi
  wait "$2" 2>/dev/null
  return 0
}

# Holds the data folder for us and all processes we start; waits for those of a predecessor that was killed.
# lock_folder DIR
lock_folder() {
  exec 9>>"$1/lock"
  flock -n 9 && return 0
  say "waiting for the processes of an earlier start in $1 to end"
  flock -w 60 9 || die "$1 is in use by another one that is running"
}

random_text() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# Makes the file of a token, readable only by us, if there is none: make_token FILE
make_token() {
  [[ ! -e $1 ]] || return 0
  (umask 077 && random_text >"$1.new") && mv "$1.new" "$1" || die "cannot make $1"
}

# Fails if something listens where we want to: free_address ADDRESS:PORT WHAT
free_address() {
  local host=${1%:*} port=${1##*:}
  host=${host#[} host=${host%]}
  case $host in 0.0.0.0 | ::) host=127.0.0.1 ;; esac
  ! (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null \
    || die "something else listens on $1, which is for $2: stop it, or choose another address"
}

# Value of a key of a table in a TOML file, without quotes: get_key FILE TABLE KEY
get_key() {
  TABLE=$2 KEY=$3 awk '
    /^\[/ { table = substr($0, 2, index($0, "]") - 2) }
    table == ENVIRON["TABLE"] && index($0, ENVIRON["KEY"] " = ") == 1 { gsub(/^[^=]*= *"?|"? *$/, ""); print; exit }' "$1"
}

# wait_http URL PID: until the URL answers 200; fails if the process ends or 120 s pass.
wait_http() {
  local tries=1200
  until curl -fs -o /dev/null --max-time 2 "$1"; do
    alive "$2" || return 1
    ((tries-- > 0)) || return 1
    sleep 0.1
  done
}

# Sets a key of a table in a TOML file that has it: set_key FILE TABLE KEY VALUE
set_key() {
  local new
  new=$(TABLE=$2 KEY=$3 VALUE=$4 awk '
    /^\[/ { table = substr($0, 2, index($0, "]") - 2) }
    table == ENVIRON["TABLE"] && index($0, ENVIRON["KEY"] " = ") == 1 { print ENVIRON["KEY"] " = " ENVIRON["VALUE"]; found = 1; next }
    { print }
    END { exit !found }' "$1") || die "$1 has no $3 in [$2]"
  printf '%s\n' "$new" >"$1"
}

# Writes a configuration with every key from deploy/plexus.toml, readable only by us.
# make_config FILE SERVER_NAME POSTGRES_URL
make_config() {
  (umask 077 && cp "$root/deploy/plexus.toml" "$1.new")
  chmod 600 "$1.new"
  set_key "$1.new" server name "\"$2\""
  set_key "$1.new" postgres url "\"$3\""
  set_key "$1.new" registration shared_secret "\"$(random_text)\""
}

# --- Postgres ----------------------------------------------------------------------------------------------------

# The newest Postgres on this machine.
pg_bin() {
  local bin
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [[ -x $bin/initdb ]] || bin=$(pg_config --bindir 2>/dev/null)
  [[ -x $bin/initdb ]] && echo "$bin"
}

# Postgres refuses to run as root; then it runs as the user `postgres` of its package.
# What the environment says of another cluster does not count.
pg_as() {
  local clean=(env -u PGUSER -u PGDATABASE -u PGHOST -u PGPORT)
  if ((EUID == 0)); then
    setpriv --reuid=postgres --regid=postgres --init-groups -- "${clean[@]}" HOME=/var/lib/postgresql "$@"
  else
    "${clean[@]}" "$@"
  fi
}

# Makes a cluster in DIR/postgres if there is none; its socket is in DIR/socket: pg_make DIR
pg_make() {
  local folder=$1 bin
  bin=$(pg_bin)
  ((${#folder} <= 85)) || die "the path $folder is too long for a Unix socket"
  mkdir -p "$folder/postgres" "$folder/socket"
  if ((EUID == 0)); then
    chmod o+x "$folder"
    chown postgres: "$folder/postgres" "$folder/socket"
    pg_as test -w "$folder/postgres" \
      || die "the user postgres cannot reach $folder: choose a folder outside of private ones, such as /var/lib/plexus"
  fi
  [[ ! -f $folder/postgres/PG_VERSION ]] || return 0
  say "making a Postgres cluster in $folder/postgres"
  pg_as rm -rf "$folder/postgres.new"
  # Only the user who started this may connect, as themselves, and Postgres's own user.
  (cd / && pg_as "$bin/initdb" --locale=C -E UTF8 -A peer -U "$(pg_as id -un)" -D "$folder/postgres" >/dev/null) \
    || die "initdb failed"
}

# Starts the cluster of DIR and waits until it takes connections; further arguments go to the server. Sets `pg_pid`.
# Fails if it does not come up in some seconds. Its log tells what went wrong, and nothing of what the tables hold: it is
# for its owner alone, and errors have neither details nor contexts, which quote values.
# pg_start DIR [ARGUMENT...]
pg_start() {
  local folder=$1 bin arguments=() tries
  shift
  bin=$(pg_bin)
  (umask 077 && : >>"$folder/postgres.log") && chmod 600 "$folder/postgres.log"
  ((EUID != 0)) || arguments=(--reuid=postgres --regid=postgres --init-groups)
  # After a kill -9, Postgres may need a moment until nobody holds its memory any more: it is tried again.
  for tries in {1..40}; do
    setsid setpriv "${arguments[@]}" --pdeathsig INT -- "$bin/postgres" -D "$folder/postgres" -k "$folder/socket" \
      -c listen_addresses= -c unix_socket_permissions=0777 -c log_error_verbosity=terse -c log_parameter_max_length=0 \
      -c log_parameter_max_length_on_error=0 "$@" >>"$folder/postgres.log" 2>&1 &
    pg_pid=$!
    while alive "$pg_pid"; do
      if "$bin/pg_isready" -q -h "$folder/socket" -d postgres; then return 0; fi
      sleep 0.05
    done
    sleep 0.25
  done
  tail -n 5 "$folder/postgres.log" >&2
  say "Postgres does not start; see $folder/postgres.log"
  return 1
}

# Starts the cluster of DIR again after it has ended, whenever that becomes possible: the disk may be full or read-only
# until somebody mends that. Gives up only if the process PID ends meanwhile.
# pg_restart DIR PID
pg_restart() {
  local pause=1
  until pg_start "$1"; do
    alive "$2" || return 1
    say "trying again in $pause s"
    # A signal ends the pause.
    sleep "$pause" 9>&- &
    wait $!
    pause=$((pause < 30 ? pause * 2 : 30))
  done
  say "Postgres is up again"
}

# Makes the database and the role of the user who started this, if they do not exist: pg_database DIR NAME
pg_database() {
  local folder=$1 name=$2 bin me
  bin=$(pg_bin)
  me=$(id -un)
  local psql=("$bin/psql" -qAtX -h "$folder/socket" -d postgres -v ON_ERROR_STOP=1)
  (
    cd /
    [[ -n $(pg_as "${psql[@]}" -c "select 1 from pg_roles where rolname = '$me'") ]] \
      || pg_as "$bin/createuser" -h "$folder/socket" -s "$me"
    [[ -n $(pg_as "${psql[@]}" -c "select 1 from pg_database where datname = '$name'") ]] \
      || pg_as "$bin/createdb" -h "$folder/socket" -O "$me" -T template0 --locale=C -E UTF8 "$name"
  ) || die "could not make the database $name"
}

# The URL of a database: pg_url DIR NAME
pg_url() { echo "postgres:///$2?host=$1/socket&user=$(id -un)"; }

pg_stop() { stop_process INT "${pg_pid:-}"; }
