#!/usr/bin/env bash
# Owns how the services are installed, started, awaited and stopped; promises that sourcing it starts nothing.
#
# A run directory (FUNNELWATCH_SERVICES_DIR) holds `ports` (those it has claimed), `vars` (what `up` prints) and one
# folder for each of kafka, redis and prometheus, which is that process's working directory, with its `log` and `pid`.

services_home=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
services_cache=$(realpath -m "${FUNNELWATCH_SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/funnelwatch}")

log() { printf 'services: %s\n' "$*" >&2; }
die() { log "$*"; exit 1; }

# enter DIR: the other functions work on this run directory from here on.
enter() {
    [[ -n $1 ]] || die "no run directory: set FUNNELWATCH_SERVICES_DIR or name it"
    [[ -f $1/ports ]] || die "$1 is no run directory of tests/services/up"
    FUNNELWATCH_SERVICES_DIR=$(realpath "$1")
    # shellcheck disable=SC1091
    if [[ -f $FUNNELWATCH_SERVICES_DIR/vars ]]; then source "$FUNNELWATCH_SERVICES_DIR/vars"; fi
}

# locked COMMAND...: in a subshell, one at a time among all that share the cache folder.
locked() (
    mkdir -p "$services_cache"
    exec 9>"$services_cache/lock"
    flock 9
    "$@"
)

# --- installing ---

missing_packages() {
    local pair
    for pair in curl:curl java:default-jre-headless kcat:kcat mvn:maven prometheus:prometheus redis-cli:redis-tools \
        redis-server:redis-server; do
        command -v "${pair%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done
}

# The name has the pom's checksum: another Kafka version is another folder.
kafka_jars() {
    local sum
    sum=$(sha256sum <"$services_home/kafka/pom.xml")
    printf '%s/kafka-%.12s\n' "$services_cache" "$sum"
}

installed() { [[ -z $(missing_packages) && -d $(kafka_jars) ]]; }

install_packages() (
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]})) || exit 0
    log "installing ${packages[*]}"
    ((EUID == 0)) || die "only root can install: apt-get install ${packages[*]}"
    # Debian starts a server as soon as its package is installed, unless this file forbids it.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    options=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
    apt-get "${options[@]}" update </dev/null >&2
    apt-get "${options[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null >&2
)

install_kafka() (
    jars=$(kafka_jars)
    [[ ! -d $jars ]] || exit 0
    log "fetching Kafka's jars"
    partial=$(mktemp -d "$jars.XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    mvn -B -q -ntp -Dstyle.color=never -f "$services_home/kafka/pom.xml" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$partial" </dev/null >&2
    mv "$partial" "$jars"
)

install_all() {
    install_packages
    install_kafka
}

# --- processes ---

# claim_ports COUNT: into the run directory's `ports`. Below the range of outgoing connections, and not those of other
# run directories, so that a broker that is stopped for a while finds its port free again.
claim_ports() {
    local port claims=$FUNNELWATCH_SERVICES_DIR/ports
    until (($(wc -l <"$claims") == $1)); do
        port=$((20000 + RANDOM % 10000))
        if ! grep -qsx "$port" "${FUNNELWATCH_SERVICES_DIR%.*}".*/ports && ! listening "$port"; then
            printf '%s\n' "$port" >>"$claims"
        fi
    done
}

listening() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start NAME COMMAND...: outlives this shell and holds none of its files open.
start() (
    cd "$FUNNELWATCH_SERVICES_DIR/$1" || exit
    shift
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        if ((fd > 2)); then exec {fd}>&-; fi
    done
    setsid "$@" </dev/null >>log 2>&1 &
    printf '%s\n' $! >pid
)

# The working directory tells our process from another that was given the same number later.
running() {
    local home=$FUNNELWATCH_SERVICES_DIR/$1 pid
    pid=$(cat "$home/pid" 2>/dev/null) && [[ $(readlink "/proc/$pid/cwd") == "$home" ]]
}

# Kafka prints all its settings over and over: they are left out.
show_log() { grep -vE $'^\t[a-z0-9.]+ = ' "$FUNNELWATCH_SERVICES_DIR/$1/log" | tail -n 60 >&2; }

# await NAME COMMAND...: until the command succeeds; fails with the end of the log when that takes too long.
await() {
    local name=$1 deadline=$((SECONDS + ${FUNNELWATCH_SERVICES_TIMEOUT:-120}))
    shift
    while running "$name" && ((SECONDS < deadline)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    if running "$name"; then log "$name is not ready in time"; else log "$name has ended"; fi
    show_log "$name"
    return 1
}

# stop NAME SIGNAL: returns once the process is gone; one that outlasts the signal by 30 s is killed.
stop() {
    local pid tries
    running "$1" || return 0
    pid=$(<"$FUNNELWATCH_SERVICES_DIR/$1/pid")
    kill -s "$2" "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 300; tries++)); do
        running "$1" || return 0
        sleep 0.1
    done
    [[ $2 != KILL ]] || die "$1 (process $pid) cannot be killed"
    log "$1 did not end on $2"
    stop "$1" KILL
}

# Nothing of a run is kept, so nothing is ended gently.
remove_all() {
    local name
    for name in kafka redis prometheus; do stop "$name" KILL; done
    rm -rf "$FUNNELWATCH_SERVICES_DIR"
}

# --- Kafka ---

# use_kafka: sets `kafka_home`, and `kafka_java` to what goes before a JVM option or one of Kafka's classes.
use_kafka() {
    kafka_home=$FUNNELWATCH_SERVICES_DIR/kafka
    kafka_java=(java -cp "$(kafka_jars)/*" -Dlog4j2.level=INFO -Djava.io.tmpdir="$kafka_home" -XX:-UsePerfData)
}

# format_kafka PORT CONTROLLER_PORT [LISTENS:ADVERTISED...]
# Clients that come to LISTENS are sent on to ADVERTISED, where a proxy stands: else they would pass it by.
format_kafka() {
    local id word parts number=0 listens='' advertised='' map=''
    use_kafka
    for word in "${@:3}"; do
        IFS=: read -r -a parts <<<"$word"
        listens+=,PROXIED$((++number))://127.0.0.1:${parts[0]}
        advertised+=,PROXIED$number://127.0.0.1:${parts[1]}
        map+=,PROXIED$number:PLAINTEXT
    done
    cat >"$kafka_home/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2$listens
advertised.listeners=PLAINTEXT://127.0.0.1:$1$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$map
log.dirs=$kafka_home/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# One broker, and no time to lose on the 50 partitions that each of these topics has by default.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
# The events of the tests carry the time they tell of, however long ago: take them, and never expire them.
log.message.timestamp.type=CreateTime
log.message.timestamp.before.max.ms=9223372036854775807
log.retention.ms=-1
END
    id=$(tr -d - </proc/sys/kernel/random/uuid)
    if ! "${kafka_java[@]}" -Xmx128m kafka.tools.StorageTool format --config "$kafka_home/server.properties" \
        --cluster-id "${id:0:21}A" </dev/null >>"$kafka_home/log" 2>&1; then
        log "Kafka's storage cannot be formatted"
        show_log kafka
        return 1
    fi
}

start_kafka() {
    use_kafka
    start kafka "${kafka_java[@]}" -Xms256m -Xmx768m kafka.Kafka "$kafka_home/server.properties"
}

# A broker answers before it may lead partitions; only then does it list itself.
kafka_ready() {
    listening "${FUNNELWATCH_KAFKA##*:}" && [[ $(kcat -b "$FUNNELWATCH_KAFKA" -L -m 5) == *"broker 1 at"* ]]
}
