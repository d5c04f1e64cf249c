#!/usr/bin/env bash
# How the services are installed, started, awaited and stopped. Sourcing it starts nothing.
#
# A run directory (FUNNELWATCH_SERVICES_DIR) holds `ports` (its claimed ports), `vars` (the output of `up`) and one
# folder for each of kafka, redis, prometheus, smtp and alertmanager: the working directory of that process, with its `log` and `pid`.

services_home=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
services_cache=$(realpath -m "${FUNNELWATCH_SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/funnelwatch}")

log() { printf 'services: %s\n' "$*" >&2; }
die() { log "$*"; exit 1; }

# enter DIR: makes this the run directory of the other functions.
enter() {
    [[ -n $1 ]] || die "no run directory: set FUNNELWATCH_SERVICES_DIR or pass it as an argument"
    [[ -f $1/ports ]] || die "$1 is not a run directory of tests/services/up"
    FUNNELWATCH_SERVICES_DIR=$(realpath "$1")
    # shellcheck disable=SC1091
    if [[ -f $FUNNELWATCH_SERVICES_DIR/vars ]]; then source "$FUNNELWATCH_SERVICES_DIR/vars"; fi
}

# locked COMMAND...: in a subshell, under the lock of the cache folder.
locked() (
    mkdir -p "$services_cache"
    exec 9>"$services_cache/lock"
    flock 9
    "$@"
)

# --- installing ---

missing_packages() {
    local pair
    for pair in curl:curl exim4:exim4-daemon-light java:default-jre-headless kcat:kcat mvn:maven openssl:openssl prometheus:prometheus \
        prometheus-alertmanager:prometheus-alertmanager redis-cli:redis-tools redis-server:redis-server; do
        command -v "${pair%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done
}

# The name contains the pom's checksum: another Kafka version gets another folder.
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
    ((EUID == 0)) || die "must be root to install packages: apt-get install ${packages[*]}"
    # Debian starts a server when its package is installed, unless this file forbids it.
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
    log "downloading Kafka's jars"
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

# claim_ports COUNT: into the run directory's `ports`. Below the ephemeral range and not claimed by other run
# directories, so that the port of a stopped broker stays free.
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

# start NAME COMMAND...: in the background; the process outlives this shell and inherits none of its open files.
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

# The working directory distinguishes our process from another one that got the same pid later.
running() {
    local home=$FUNNELWATCH_SERVICES_DIR/$1 pid
    pid=$(cat "$home/pid" 2>/dev/null) && [[ $(readlink "/proc/$pid/cwd") == "$home" ]]
}

# Without the settings that Kafka logs repeatedly.
show_log() { grep -vE $'^\t[a-z0-9.]+ = ' "$FUNNELWATCH_SERVICES_DIR/$1/log" | tail -n 60 >&2; }

# await NAME COMMAND...: until the command succeeds; on a timeout prints the end of the log and fails.
await() {
    local name=$1 deadline=$((SECONDS + ${FUNNELWATCH_SERVICES_TIMEOUT:-120}))
    shift
    while running "$name" && ((SECONDS < deadline)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    if running "$name"; then log "$name is not ready within the timeout"; else log "$name has exited"; fi
    show_log "$name"
    return 1
}

# stop NAME SIGNAL: returns once the process is gone; after 30 s it is killed.
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
    log "$1 did not exit on $2"
    stop "$1" KILL
}

# Nothing of a run is kept, so no orderly shutdown is needed.
remove_all() {
    local name
    stop smtp TERM
    for name in kafka redis prometheus alertmanager; do stop "$name" KILL; done
    rm -rf "$FUNNELWATCH_SERVICES_DIR"
}

# --- the mail server and Alertmanager ---

# configure_smtp PORT: a mail server that takes mail for every address and stores it in the folder `smtp/mail`. Only root can give
# it another user than the caller.
configure_smtp() {
    local home=$FUNNELWATCH_SERVICES_DIR/smtp
    mkdir "$home/spool" "$home/mail"
    if ((EUID == 0)); then
        chown Debian-exim "$home/spool" "$home/mail"
        chmod a+x "$FUNNELWATCH_SERVICES_DIR" "$home"
    fi
    cat >"$home/exim.conf" <<END
exim_path = $(command -v exim4)
spool_directory = $home/spool
log_file_path = $home/spool/%slog
pid_file_path = $home/spool/pid
primary_hostname = localhost
local_interfaces = 127.0.0.1
daemon_smtp_ports = $1
deliver_drop_privilege = true
message_logs = false
keep_environment =
acl_smtp_rcpt = everything
acl_smtp_data = everything
begin acl
everything:
  accept
begin routers
every_address:
  driver = accept
  transport = folder
begin transports
folder:
  driver = appendfile
  maildir_format
  directory = $home/mail
  create_directory
  envelope_to_add
begin retry
* * F,1h,1s
END
}

# The server changes its working directory; a shell that keeps it stands for it.
start_smtp() {
    # shellcheck disable=SC2016
    start smtp bash -c 'exim4 -C "$1" -bdf -q1s & trap "kill $!" TERM; wait' smtp "$FUNNELWATCH_SERVICES_DIR/smtp/exim.conf"
}

# Without anything to inform.
configure_alertmanager() {
    printf '%s\n' 'route: {receiver: none}' 'receivers: [{name: none}]' >"$FUNNELWATCH_SERVICES_DIR/alertmanager/alertmanager.yml"
}

start_alertmanager() {
    start alertmanager prometheus-alertmanager --config.file=alertmanager.yml --storage.path=data --cluster.listen-address= \
        --web.listen-address="${FUNNELWATCH_ALERTMANAGER#http://}"
}

# --- Kafka ---

# use_kafka: sets `kafka_home`, and `kafka_java` to the command to which JVM options and one of Kafka's classes are
# appended.
use_kafka() {
    kafka_home=$FUNNELWATCH_SERVICES_DIR/kafka
    kafka_java=(java -cp "$(kafka_jars)/*" -Dlog4j2.level=INFO -Djava.io.tmpdir="$kafka_home" -XX:-UsePerfData)
}

# certify: a certificate for 127.0.0.1, and the CA that issued it; another CA with the same name.
certify() (
    cd "$kafka_home"
    new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj)
    "${new[@]}" /CN=ca -x509 -days 2 -keyout ca.key -out ca.pem
    "${new[@]}" /CN=ca -x509 -days 2 -keyout other.key -out other-ca.pem
    "${new[@]}" /CN=broker -keyout server.pem -out server.csr
    printf 'subjectAltName=IP:127.0.0.1\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext >>server.pem
) >>"$kafka_home/log" 2>&1

# format_kafka PORT CONTROLLER_PORT SECURE_PORT [LISTENS:ADVERTISED...]
# Clients of the listener LISTENS get ADVERTISED, the address of a proxy: otherwise they would bypass it.
# The secure listener has TLS and SCRAM. Its users have the names user-1, user-2, … and the password `secret`, and may do
# what ACLs grant them; on the others everything is allowed.
format_kafka() {
    local id word parts users number=0 listens='' advertised='' map=''
    use_kafka
    certify
    for word in "${@:4}"; do
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
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2,SECURE://127.0.0.1:$3$listens
advertised.listeners=PLAINTEXT://127.0.0.1:$1,SECURE://127.0.0.1:$3$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL$map
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$kafka_home/server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs=$kafka_home/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# One broker; fewer partitions than the default 50 start faster.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
# Test events have arbitrarily old timestamps: accept them, and never expire them.
log.message.timestamp.type=CreateTime
log.message.timestamp.before.max.ms=9223372036854775807
log.retention.ms=-1
END
    id=$(tr -d - </proc/sys/kernel/random/uuid)
    users=()
    for number in {1..24}; do users+=(--add-scram "SCRAM-SHA-512=[name=user-$number,password=secret]"); done
    if ! "${kafka_java[@]}" -Xmx128m kafka.tools.StorageTool format --config "$kafka_home/server.properties" \
        --cluster-id "${id:0:21}A" "${users[@]}" </dev/null >>"$kafka_home/log" 2>&1; then
        log "cannot format Kafka's storage"
        show_log kafka
        return 1
    fi
}

start_kafka() {
    use_kafka
    start kafka "${kafka_java[@]}" -Xms256m -Xmx768m kafka.Kafka "$kafka_home/server.properties"
}

# A broker answers before it can lead partitions; once it can, it lists itself.
kafka_ready() {
    listening "${FUNNELWATCH_KAFKA##*:}" && [[ $(kcat -b "$FUNNELWATCH_KAFKA" -L -m 5) == *"broker 1 at"* ]]
}
