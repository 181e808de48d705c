# Installs and fetches what is missing; sourced after lib.sh and services.sh.
# shellcheck shell=bash

install_packages() {
  local missing=()
  command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
  [ -d "$LIBS" ] || command -v mvn >/dev/null || missing+=(maven)
  [ -n "$(pg_bin || true)" ] || missing+=(postgresql-15)
  [ -f "$VENV/complete" ] || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  [ "${#missing[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    die 69 "missing; run: sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  fi
  say "installing: ${missing[*]}"
  # Debian starts a cluster of its own when the server is installed; it is never wanted here.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/noctus-stack.conf
  retry apt_install "${missing[@]}" || die 69 "apt-get could not install: ${missing[*]}"
}

apt_install() {
  {
    apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
  } </dev/null >"$LOGS/apt.log" 2>&1 || { tail -n 5 "$LOGS/apt.log" >&2; return 1; }
}

fetch_jars() {
  [ ! -d "$LIBS" ] || return 0
  say "fetching Kafka and the registry"
  retry maven_once || die 69 "maven could not fetch what tests/stack/pom.xml names"
}

maven_once() { # -C: a wrong checksum is an error; the time-outs turn a hang into a retry
  rm -rf "$LIBS.new"
  timeout 900 mvn -q -B -C -ntp -f "$HERE/pom.xml" "-Dstack.out=$LIBS.new" \
    -Dmaven.wagon.rto=60000 -Daether.connector.requestTimeout=60000 package \
    </dev/null >"$LOGS/maven.log" 2>&1 || { grep -m 5 ERROR "$LOGS/maven.log" >&2; return 1; }
  mv "$LIBS.new" "$LIBS"
}

# Programs only: the package is unpacked, not installed, so that no service starts and nothing it depends on comes along.
fetch_prometheus() {
  [ ! -x "$PROMETHEUS/promtool" ] || return 0
  say "fetching Prometheus"
  retry prometheus_once || die 69 "apt-get could not fetch the package prometheus; or set NOCTUS_STACK_PROMETHEUS" \
    "to a folder with prometheus and promtool"
}

prometheus_once() {
  local new=$PROMETHEUS.new
  rm -rf "$new"
  mkdir -p "$new"
  {
    [ "$(id -u)" != 0 ] || apt-get update -qq
    (cd "$new" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb -x prometheus_*.deb .) &&
      "$new/usr/bin/prometheus" --version
  } </dev/null >"$LOGS/prometheus.log" 2>&1 || { tail -n 5 "$LOGS/prometheus.log" >&2; return 1; }
  rm -f "$new"/prometheus_*.deb
  mkdir -p "$PROMETHEUS"
  mv "$new/usr/bin/prometheus" "$new/usr/bin/promtool" "$PROMETHEUS/"
  rm -rf "$new"
}

make_venv() {
  [ ! -f "$VENV/complete" ] || return 0
  say "making the Python environment"
  retry venv_once || die 69 "pip could not install tests/stack/requirements.txt"
}

venv_once() { # wheels only: a source build would want compilers and librdkafka's headers
  {
    python3 -m venv --clear "$VENV" &&
      "$VENV/bin/pip" install -q --disable-pip-version-check --only-binary :all: \
        -r "$HERE/requirements.txt" &&
      "$PYTHON" -c 'import confluent_kafka.schema_registry.avro, psycopg'
  } </dev/null >"$LOGS/pip.log" 2>&1 || { tail -n 5 "$LOGS/pip.log" >&2; return 1; }
  touch "$VENV/complete"
}
