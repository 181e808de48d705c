# Shared by every script here; sourced, never run. Sets where things live and how services are
# recognised, waited for and stopped. What each service is made of: services.sh.
# shellcheck shell=bash disable=SC2034 # what is unused here is used by those that source it

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SERVICES=(kafka registry postgres)

# Unusual ports: a developer's own Kafka or Postgres must not be what the tests talk to.
KAFKA_PORT=${NOCTUS_STACK_KAFKA_PORT:-29092}
CONTROLLER_PORT=${NOCTUS_STACK_CONTROLLER_PORT:-29093}
REGISTRY_PORT=${NOCTUS_STACK_REGISTRY_PORT:-28081}
POSTGRES_PORT=${NOCTUS_STACK_POSTGRES_PORT:-25432}
DEADLINE_S=${NOCTUS_STACK_DEADLINE_S:-120}

BROKERS=127.0.0.1:$KAFKA_PORT
REGISTRY=http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7
DATABASE=postgres://noctus:noctus@127.0.0.1:$POSTGRES_PORT/noctus

say() { printf '%s\n' "$*" >&2; }
die() { local code=$1; shift; say "tests/stack: $*"; exit "$code"; }

STACK_HOME=${NOCTUS_STACK_HOME:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/noctus-stack}
mkdir -p "$STACK_HOME"/{data,logs,run}
STACK_HOME=$(cd "$STACK_HOME" && pwd)
DIST=${NOCTUS_STACK_DIST:-$STACK_HOME/dist}
mkdir -p "$DIST"
DIST=$(cd "$DIST" && pwd)
RUN=$STACK_HOME/run
LOGS=$STACK_HOME/logs

# initdb refuses root, and user postgres cannot walk into root's home: as root the database lives
# under /var/lib, in a directory of its own for each state directory.
if [ "$(id -u)" = 0 ]; then
  PG_DATA=/var/lib/noctus-stack/$(printf %s "$STACK_HOME" | cksum | cut -d' ' -f1)/pg
else
  PG_DATA=$STACK_HOME/data/pg
fi

# Named by what they are made from: a changed pom or requirements file is a new directory, so
# nothing is swapped under a running JVM.
LIBS=$DIST/jars-$(cksum <"$HERE/pom.xml" | cut -d' ' -f1)
VENV=$DIST/venv-$(cksum <"$HERE/requirements.txt" | cut -d' ' -f1)
PYTHON=$VENV/bin/python
# Not a service: tests that want a Prometheus start one of their own.
PROMETHEUS=${NOCTUS_STACK_PROMETHEUS:-$DIST/prometheus}

# One script at a time changes the stack; a second one waits and then finds it up.
lock() {
  exec 9>"$RUN/lock"
  flock -w 900 9 || die 75 "another script has held $RUN/lock for 15 minutes"
}

known() {
  local s
  for s in "${SERVICES[@]}"; do [ "$s" = "$1" ] && return 0; done
  die 64 "no service '$1': one of ${SERVICES[*]}"
}

# What only our own process has on its command line.
marker() {
  case $1 in
    kafka) echo "-Dnoctus.stack=$STACK_HOME/kafka " ;;
    registry) echo "-Dnoctus.stack=$STACK_HOME/registry " ;;
    postgres) echo "-D $PG_DATA " ;;
  esac
}

cmdline() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true; }

# Prints the pid of our running service; false if there is none. The pid file alone proves
# nothing: its process may be dead and its number given to another.
pid_of() {
  local pid
  pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ "$(cmdline "$pid") " == *"$(marker "$1")"* ]] || return 1
  echo "$pid"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# True when every named service answers a real request; prints a line for each if NOISE is set.
probe() {
  [ -x "$PYTHON" ] || { [ -z "${NOISE:-}" ] || say "not set up yet: run tests/stack/up"; return 1; }
  NOISE=${NOISE:-} BROKERS=$BROKERS REGISTRY=$REGISTRY DATABASE=$DATABASE \
    "$PYTHON" "$HERE/probe.py" "$@"
}

retry() { # 3 tries with back-off: package registries have outages of seconds
  local try
  for try in 1 2 3; do
    "$@" && return 0
    [ "$try" = 3 ] || { say "try $try failed: $1; again in $((try * 10)) s"; sleep $((try * 10)); }
  done
  return 1
}

port_free() { # PORT VARIABLE
  ! listening "$1" || die 69 "port $1 is taken by a process that is not this stack's;" \
    "free it or set $2 to another port"
}

log_tail() {
  say "--- last lines of $LOGS/$1.log"
  tail -n 40 "$LOGS/$1.log" >&2 || true
}

# Runs a command as a session of its own, with no input and no hold on our lock, so that it
# outlives this shell; it writes its own pid, since setsid may or may not fork.
launch() { # NAME COMMAND...
  local name=$1; shift
  [ ! -f "$LOGS/$name.log" ] || mv -f "$LOGS/$name.log" "$LOGS/$name.log.1"
  rm -f "$RUN/$name.pid"
  # shellcheck disable=SC2016 # expanded by the inner shell
  (cd / && exec setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' launch "$RUN/$name.pid" "$@" \
    </dev/null >"$LOGS/$name.log" 2>&1 9>&-) &
  until [ -s "$RUN/$name.pid" ]; do sleep 0.02; done # the line is written in one piece
}

# Starts what is not running, then waits. A service that dies while starting gets four
# more tries: after a kill -9 Postgres refuses until the last orphaned backend is gone.
start() { known "$1"; pid_of "$1" >/dev/null || { "ports_$1"; "start_$1"; }; }

await() {
  local name=$1 end=$((SECONDS + DEADLINE_S)) deaths=0
  until { listening "$(port_of "$name")" && pid_of "$name" >/dev/null && probe "$name"; }; do
    if ! pid_of "$name" >/dev/null; then
      deaths=$((deaths + 1))
      [ "$deaths" -lt 5 ] || { log_tail "$name"; die 69 "$name dies while starting"; }
      sleep 1
      start "$name"
    fi
    [ "$SECONDS" -lt "$end" ] || { log_tail "$name"; die 69 "$name not healthy within $DEADLINE_S s"; }
    sleep 0.2
  done
}

# Stops our own process, if it runs; never one that merely has its old number.
stop() {
  local name=$1 pid signal=TERM end
  known "$name"
  if pid=$(pid_of "$name"); then
    [ "$name" != postgres ] || signal=INT # INT is 'fast': it does not wait for clients to leave
    kill "-$signal" "$pid"
    end=$((SECONDS + 30))
    while pid_of "$name" >/dev/null; do
      if [ "$SECONDS" -ge "$end" ]; then
        say "$name ignored SIG$signal for 30 s: killing it"
        kill -KILL "$pid" 2>/dev/null || true
        end=$((SECONDS + 30))
      fi
      sleep 0.1
    done
  fi
  rm -f "$RUN/$name.pid"
}
