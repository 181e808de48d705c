# How each service is set up and started; sourced after lib.sh.
# shellcheck shell=bash

port_of() {
  case $1 in
    kafka) echo "$KAFKA_PORT" ;;
    registry) echo "$REGISTRY_PORT" ;;
    postgres) echo "$POSTGRES_PORT" ;;
  esac
}

ports_kafka() {
  port_free "$KAFKA_PORT" NOCTUS_STACK_KAFKA_PORT
  port_free "$CONTROLLER_PORT" NOCTUS_STACK_CONTROLLER_PORT
}
ports_registry() { port_free "$REGISTRY_PORT" NOCTUS_STACK_REGISTRY_PORT; }
ports_postgres() { port_free "$POSTGRES_PORT" NOCTUS_STACK_POSTGRES_PORT; }

start_kafka() {
  local config=$RUN/server.properties data=$STACK_HOME/data/kafka
  local java=(java -cp "$LIBS/kafka/*" "-Dlog4j2.configurationFile=$HERE/log4j2.properties")
  sed -e "s|@PORT@|$KAFKA_PORT|g" -e "s|@CONTROLLER@|$CONTROLLER_PORT|g" -e "s|@DATA@|$data|g" \
    "$HERE/server.properties" >"$config"
  if [ ! -f "$data/meta.properties" ]; then
    # a cluster id of its own for each formatting: clients notice that the old cluster is gone
    local id
    id=$("${java[@]}" kafka.tools.StorageTool random-uuid 2>"$LOGS/kafka-format.log" | tail -n 1)
    "${java[@]}" kafka.tools.StorageTool format -t "$id" -c "$config" \
      >>"$LOGS/kafka-format.log" 2>&1 ||
      { tail -n 20 "$LOGS/kafka-format.log" >&2; die 69 "kafka storage could not be formatted"; }
  fi
  launch kafka "${java[@]}" -Xms256m -Xmx512m "-Dnoctus.stack=$STACK_HOME/kafka" \
    kafka.Kafka "$config"
}

start_registry() {
  local jar
  jar=$(echo "$LIBS"/registry/apicurio-registry-app-*-runner.jar)
  launch registry java -Xms128m -Xmx384m "-Dnoctus.stack=$STACK_HOME/registry" \
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$REGISTRY_PORT" -jar "$jar"
}

pg_bin() { # Debian keeps the server programs off PATH
  local dir
  for dir in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin; do
    [ -x "$dir/initdb" ] && { echo "$dir"; return 0; }
  done
  dir=$(dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null)
  [ -x "$dir/initdb" ] && echo "$dir"
}

start_postgres() {
  local bin as=()
  bin=$(pg_bin)
  [ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --init-groups)
  [ -f "$PG_DATA/PG_VERSION" ] || init_postgres "$bin" "${as[@]}"
  # No socket directory: everyone comes over loopback with the password.
  launch postgres "${as[@]}" "$bin/postgres" -D "$PG_DATA" -c listen_addresses=127.0.0.1 \
    -c port="$POSTGRES_PORT" -c unix_socket_directories= -c fsync=on -c synchronous_commit=on \
    -c max_connections=400 -c shared_buffers=512MB -c timezone=UTC -c log_timezone=UTC \
    -c log_line_prefix='%m [%p] %u@%d '
}

init_postgres() { # BIN AS...; whole or not at all: made beside its place, then moved there
  local bin=$1 top new password
  shift
  top=$(dirname "$PG_DATA") new=$PG_DATA.new
  mkdir -p "$top"
  [ "$(id -u)" != 0 ] || chown postgres: "$top"
  rm -rf "$new"
  password=$top/password
  (umask 077 && echo noctus >"$password")
  [ "$(id -u)" != 0 ] || chown postgres: "$password"
  {
    (cd / && "$@" "$bin/initdb" -D "$new" -U noctus --pwfile="$password" -A scram-sha-256 \
      -E UTF8 --locale=C.UTF-8) &&
      echo 'CREATE DATABASE noctus' | (cd / && "$@" "$bin/postgres" --single -D "$new" postgres)
  } >"$LOGS/postgres-init.log" 2>&1 ||
    { tail -n 20 "$LOGS/postgres-init.log" >&2; die 69 "the database could not be initialised"; }
  rm -f "$password"
  mv "$new" "$PG_DATA"
}
