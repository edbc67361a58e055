#!/usr/bin/env bash
# The user's service under a real service manager: systemd's user instance in a mount namespace of its own, with a
# PulseAudio server and null sinks. Installs into FOLDER, starts the unit, and tries reload, watchdog, kill and stop.
# Usage: unshare --mount tests/service.sh FOLDER (as root; HEARTH_BIN names the program). tests/install.rs runs it.
set -euo pipefail
folder=$1
die() {
    echo "service.sh: $*" >&2
    systemctl --user status hearth --no-pager --lines=0 >&2 || true
    tail -n 30 "$folder/manager.log" >&2 || true
    exit 1
}
# The user instance wants to see that the machine runs systemd; only this namespace does.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
export HOME=$folder/home XDG_RUNTIME_DIR=$folder/run
unset XDG_CONFIG_HOME XDG_STATE_HOME PULSE_SERVER DBUS_SESSION_BUS_ADDRESS
mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"

cat >"$folder/server.pa" <<X
load-module module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0
load-module module-null-sink sink_name=mic rate=48000 channels=1
load-module module-null-sink sink_name=spk rate=48000 channels=2
set-default-sink spk
set-default-source mic.monitor
X
pulseaudio --daemonize=no --exit-idle-time=-1 -n -F "$folder/server.pa" >/dev/null 2>&1 &
server=$!
/lib/systemd/systemd --user --log-target=console >"$folder/manager.log" 2>&1 &
manager=$!
trap 'systemctl --user exit >/dev/null 2>&1 || true; sleep 1; kill "$server" "$manager" 2>/dev/null || true' EXIT

# Waits until a command succeeds. Usage: until_is SECONDS WHAT COMMAND...
until_is() {
    local left=$1 what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((left-- > 0)) || die "not in time: $what"
        sleep 1
    done
}
show() { systemctl --user show hearth --value -p "$1"; }
is() { [[ $(show "$1") == "$2" ]]; }
changed() { [[ $(show "$1") != "$2" ]]; }
more() { (($(show "$1") > $2)); }

until_is 30 "the service manager runs" systemctl --user list-units
scripts/install --user --no-start >/dev/null
systemctl --user daemon-reload
begun=$SECONDS
systemctl --user start hearth || die "it does not start"
is ActiveState active || die "it is $(show ActiveState)"
echo "ready after $((SECONDS - begun)) s: $(show StatusText); watchdog $(show WatchdogUSec)"
hearth=$HOME/.local/bin/hearth
config=$HOME/.config/hearth/config.toml
until_is 60 "it listens" bash -c "'$hearth' --config '$config' status | grep -q idle"

systemctl --user reload hearth || die "it does not reload"
is ActiveState active || die "after the reload it is $(show ActiveState)"

# Three watchdog intervals' worth of beats would be 90 s: one is enough to see that it is fed.
sleep 35
is NRestarts 0 || die "the watchdog was not fed"
echo "alive after the first watchdog interval"

pid=$(show MainPID)
kill -STOP "$pid"
until_is 90 "the watchdog ends a daemon that hangs" more NRestarts 0
until_is 60 "it is started again" is SubState running
changed MainPID "$pid" || die "it is the same process"
echo "hung: ended by the watchdog and started again"

pid=$(show MainPID)
kill -KILL "$pid"
until_is 60 "it is started again after a kill" more NRestarts 1
until_is 60 "it runs again" is SubState running

# A wrong configuration is refused at the start, and not tried over and over.
echo 'nonsense = 1' >>"$config"
! systemctl --user restart hearth 2>/dev/null || die "it starts with a wrong configuration"
until_is 20 "it stays down" is ActiveState failed
sed -i '$d' "$config"
systemctl --user reset-failed hearth
systemctl --user start hearth || die "it does not start again"
systemctl --user stop hearth || die "it does not stop"
is ActiveState inactive || die "it is $(show ActiveState)"
is Result success || die "it ended with $(show Result)"
scripts/install --uninstall --user >/dev/null || die "it cannot be removed"
echo "stopped and removed"
