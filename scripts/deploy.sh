#!/bin/bash
# Installs or upgrades keepwell on this host, configures it, and makes sure that it and what it
# watches are well; what does not pass the health gate is rolled back. Run it as root.
#
#   scripts/deploy.sh [PACKAGE] [--unit NAME]... [--config FILE] [--env NAME]... [--timeout SECONDS]
#                     [--dry-run]
#
#   PACKAGE            a .deb or .rpm; else the newest one in dist/
#   --unit NAME        a unit that keepwell watches and restarts, and that must be active afterwards;
#                      a pattern as in `systemctl` is understood. All units named in one run replace
#                      those of the run before; without any, those stay
#   --config FILE      becomes /etc/keepwell/keepwell.toml
#   --env NAME         take this variable from the environment too
#   --timeout SECONDS  how long to wait for all to be well (default 60)
#   --dry-run          check the new configuration and say what would be done; change nothing
#   --help             this text
#
# Variables that are set are written to /etc/keepwell/environment; one that is set and empty is
# taken out of it; the others stay as they are there:
#   APPLICATIONINSIGHTS_CONNECTION_STRING ALERT_WEBHOOK_URL ALERT_EMAIL ADMIN_EMAIL SMTP_HOST
#   SMTP_PORT SMTP_USER SMTP_PASSWORD TELEGRAM_BOT_TOKEN TELEGRAM_CHAT_ID MONITOR_INTERVAL
#   SERVICE_CHECK_INTERVAL HEALTH_INTERVAL_SECONDS ALERT_COOLDOWN ALERT_COOLDOWN_MINUTES
#   HEALTH_RETENTION_DAYS DISCOVERY_SERVICE_URL BILLING_SERVICE_URL KEEPWELL_HTTP_LISTEN
#   KEEPWELL_HTTP_TOKEN
# sudo hands them on with --preserve-env=NAME,NAME.
#
# Exit code: 0 done, or nothing to do; 1 failed, and the host is as it was before; 2 failed, and it
# could not all be put back: it says what is left to do; 64 a mistake in the arguments; 75 another
# deployment is under way.
set -euo pipefail
umask 077

etc=/etc/keepwell
state=/var/lib/keepwell-deploy
rollback=$state/rollback
units_file=conf.d/50-deploy.toml
# What a deployment may write below /etc/keepwell.
managed=(keepwell.toml environment "$units_file")

say() { printf '%s\n' "deploy: $*"; }
warn() { printf '%s\n' "deploy: $*" >&2; }
fail() { # REASON...: one line each; the EXIT trap puts back what was changed
    local line
    for line in "$@"; do warn "$line"; done
    exit 1
}
mistake() {
    warn "$1; --help lists the arguments"
    exit 64
}
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }
# The variables in the text above: one list for people and for the script.
known_variables() { sed -n '/^# Variables that/,/^# sudo/s/^#   //p' "$0"; }

### Arguments

package=
config=
dry=
timeout=60
units=()
read -r -d '' -a variables < <(known_variables) || true
while [ $# -gt 0 ]; do
    case $1 in
    --unit | --config | --env | --timeout)
        [ $# -ge 2 ] || mistake "$1 needs a value"
        option=$1 value=$2
        shift
        ;;
    --unit=* | --config=* | --env=* | --timeout=*) option=${1%%=*} value=${1#*=} ;;
    --dry-run) dry=1 option= ;;
    --help | -h)
        usage
        exit 0
        ;;
    -*) mistake "'$1' is not an argument" ;;
    *)
        [ -z "$package" ] || mistake "one package only: '$package' and '$1' were given"
        package=$1 option=
        ;;
    esac
    case ${option-} in
    --unit)
        [[ $value =~ ^[][A-Za-z0-9:_.@*?\\-]+$ ]] || mistake "'$value' is not the name of a unit"
        units+=("$value")
        ;;
    --config) config=$value ;;
    --env)
        [[ $value =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || mistake "'$value' is not the name of a variable"
        [ -n "${!value+set}" ] || mistake "--env $value: there is no such variable in the environment"
        variables+=("$value")
        ;;
    --timeout)
        [[ $value =~ ^[1-9][0-9]{0,4}$ ]] || mistake "--timeout takes whole seconds, at least 1"
        timeout=$value
        ;;
    esac
    option=
    shift
done
if [ -z "$package" ]; then
    dist=$(dirname "$0")/../dist
    # By time of writing: the newest first. Names of packages have no blanks.
    # shellcheck disable=SC2012
    package=$(ls -t "$dist"/*.deb "$dist"/*.rpm 2>/dev/null | head -n 1) || true
    [ -n "$package" ] || mistake "no package is named, and none is in dist/ (scripts/package makes one)"
fi
[ -r "$package" ] || mistake "the package $package cannot be read"
[ -z "$config" ] || [ -r "$config" ] || mistake "the configuration $config cannot be read"
if [ "$(id -u)" != 0 ]; then
    warn "it must be run as root: sudo $0 ..."
    exit 64
fi
[ -d /run/systemd/system ] || fail "systemd does not run this host: keepwell cannot be a service here"

### Packages: what differs between Debian and RPM

case $package in
*.deb) kind=deb need=dpkg-deb ;;
*.rpm) kind=rpm need=rpm ;;
*) mistake "$package is neither a .deb nor an .rpm" ;;
esac
command -v "$need" >/dev/null || fail "$package cannot be installed here: there is no $need"

version_of() { # FILE
    case $kind in
    deb) dpkg-deb --field "$1" Version ;;
    rpm) rpm --query --package --queryformat '%{VERSION}-%{RELEASE}' "$1" ;;
    esac
}
name_of() { # FILE
    case $kind in
    deb) dpkg-deb --field "$1" Package ;;
    rpm) rpm --query --package --queryformat '%{NAME}' "$1" ;;
    esac
}
installed_version() { # nothing where it is not installed
    local found
    case $kind in
    deb)
        # shellcheck disable=SC2016
        found=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}' keepwell 2>/dev/null) || true
        [ "${found%% *}" != installed ] || echo "${found#* }"
        ;;
    rpm) rpm --query --queryformat '%{VERSION}-%{RELEASE}' keepwell 2>/dev/null || true ;;
    esac
}
# The same for a file and for what was installed from it, and for nothing else.
identity_of() { # FILE
    case $kind in
    deb)
        {
            version_of "$1"
            dpkg-deb --ctrl-tarfile "$1" | tar --extract --to-stdout ./md5sums
        } | sha256sum
        ;;
    rpm) rpm --query --package --queryformat '%{SHA256HEADER}' "$1" ;;
    esac
}
installed_identity() {
    case $kind in
    deb)
        {
            installed_version
            dpkg-query --control-show keepwell md5sums
        } 2>/dev/null | sha256sum
        ;;
    rpm) rpm --query --queryformat '%{SHA256HEADER}' keepwell 2>/dev/null || true ;;
    esac
}
# Takes out of a package what is needed before it is installed.
unpack() { # FILE FOLDER
    local wanted=(./usr/bin/keepwell ./usr/lib/sysusers.d/keepwell.conf)
    case $kind in
    deb) dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$2" "${wanted[@]}" ;;
    rpm) rpm2cpio "$1" | (cd "$2" && cpio --extract --make-directories --quiet "${wanted[@]}") ;;
    esac
}
# In a session of its own: Ctrl-C does not tear a package manager from its work.
managing() { # COMMAND...
    if ! DEBIAN_FRONTEND=noninteractive setsid --wait "$@" >"$state/last.log" 2>&1 </dev/null 9>&-; then
        tail -n 20 "$state/last.log" >&2
        warn "that was: $* (the whole log: $state/last.log)"
        return 1
    fi
}
install_package() { # FILE
    case $kind in
    deb)
        # Named with a slash, or apt takes it for the name of a package.
        if command -v apt-get >/dev/null; then
            managing apt-get --quiet --yes --allow-downgrades --reinstall \
                --option Dpkg::Options::=--force-confold --option DPkg::Lock::Timeout=60 \
                install "$(realpath "$1")"
        else
            put_back_package "$1"
        fi
        ;;
    rpm)
        if [ -z "$(installed_version)" ] && command -v dnf >/dev/null; then
            managing dnf --assumeyes --quiet install "$(realpath "$1")"
        else
            put_back_package "$1"
        fi
        ;;
    esac
}
# All that it needs is there: no network, no index of packages.
put_back_package() { # FILE
    case $kind in
    deb) managing dpkg --force-confold --install "$1" ;;
    rpm) managing rpm --upgrade --oldpackage --replacepkgs "$1" ;;
    esac
}
remove_package() { # [with-state]
    case $kind in
    deb)
        if [ "${1-}" = with-state ]; then
            managing dpkg --purge keepwell
        else
            managing dpkg --remove keepwell
        fi
        ;;
    rpm) managing rpm --erase keepwell ;;
    esac
}
# The package file of what is installed now, if it can be found.
former_package() {
    local wanted file
    wanted=$(installed_identity)
    for file in "$state/current.$kind" "$state/former.$kind" /var/cache/apt/archives/keepwell_*.deb; do
        if [ -r "$file" ] && [ "$(identity_of "$file")" = "$wanted" ]; then
            echo "$file"
            return
        fi
    done
}

### Asking systemd and keepwell

active() { systemctl is-active "$1" 2>/dev/null || true; }
enabled() { systemctl is-enabled keepwell.service 2>/dev/null || true; }
run_of() { systemctl show --property=InvocationID --value keepwell.service; }

# Runs a keepwell as the service would: its user, its variables, with this folder as /etc/keepwell.
as_service() { # PROGRAM FOLDER ARGUMENTS...
    local program=$1 folder=$2
    local how=(--quiet --pipe --wait --collect --property="EnvironmentFile=-$folder/environment")
    shift 2
    if id keepwell >/dev/null 2>&1; then
        how+=(--property=User=keepwell --property=Group=keepwell)
    fi
    [ "$folder" = "$etc" ] || how+=(--property="BindReadOnlyPaths=$folder:$etc")
    # The unit itself does not fail: the keepwell that runs already would tell of it. Its exit code
    # comes as the last line.
    local said
    # shellcheck disable=SC2016
    said=$(systemd-run "${how[@]}" -- /bin/sh -c '"$@"; echo "exit $?"' sh "$program" "$@" </dev/null) || return
    printf '%s' "${said%exit *}"
    return "${said##*exit }"
}
# HOST PORT of the first address that keepwell listens on; nothing when it serves no HTTP.
listens() {
    local shown address
    shown=$(as_service /usr/bin/keepwell "$etc" config show 2>/dev/null) || shown=
    address=$(awk '/^\[/ { http = $0 == "[http]" } http && /^listen = / { print; exit }' <<<"$shown")
    case $address in
    *false*) return ;;
    *\"*) address=${address#*\"} address=${address%%\"*} ;;
    *) address=127.0.0.1:8080 ;;
    esac
    local host=${address%:*}
    case $host in
    0.0.0.0) host=127.0.0.1 ;;
    "[::]") host=::1 ;;
    esac
    host=${host#[}
    echo "${host%]} ${address##*:}"
}
# The status of GET /health; nothing when nobody answers within 5 s.
health() { # HOST PORT
    # shellcheck disable=SC2016
    timeout 5 bash -c '
        exec 3<>"/dev/tcp/$1/$2"
        printf "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3
        read -r _ status _ <&3
        echo "$status"' health "$1" "$2" 2>/dev/null || true
}
watched_units() { sed -n "s/^name = '\(.*\)'\$/\1/p" "$etc/$units_file" 2>/dev/null || true; }
# What is not well with one unit, or with all that a pattern matches; nothing when it is active.
trouble_with() { # UNIT
    local found name state rest
    case $1 in
    *[*?[]*)
        found=$(systemctl list-units --all --plain --no-legend --no-pager "$1")
        [ -n "$found" ] || echo "$1: no unit matches"
        while read -r name _ state rest; do
            [ -z "$name" ] || [ "$state" = active ] || echo "$name is $state (${rest%% *})"
        done <<<"$found"
        ;;
    *)
        state=$(active "$1")
        [ "$state" = active ] ||
            echo "$1 is ${state:-unknown} ($(systemctl show --property=SubState --value -- "$1"))"
        ;;
    esac
}

# Waits until keepwell runs, each watched unit is active and /health answers 200, and that for LOOKS
# looks in a row, a second apart: what crashes at once is active for a moment.
troubles=()
gate() { # LOOKS
    local end=$((SECONDS + timeout)) good=0 where unit status
    where=$(listens)
    while :; do
        troubles=()
        [ "$(active keepwell.service)" = active ] ||
            troubles+=("keepwell.service is $(active keepwell.service)")
        while read -r unit; do
            [ -z "$unit" ] || mapfile -t -O ${#troubles[@]} troubles < <(trouble_with "$unit")
        done < <(watched_units)
        if [ -n "$where" ]; then
            # shellcheck disable=SC2086
            status=$(health $where)
            [ "$status" = 200 ] || troubles+=("/health on ${where/ / port } answers ${status:-nothing}, not 200")
        elif keepwell check >/dev/null 2>&1 || [ $? = 1 ]; then
            : # It serves no HTTP: its own word for healthy or warning is enough.
        else
            troubles+=("keepwell check says critical or unknown")
        fi
        if [ ${#troubles[@]} = 0 ]; then
            good=$((good + 1))
            [ "$good" -lt "$1" ] || return 0
        else
            good=0
            [ "$SECONDS" -lt "$end" ] || return 1
        fi
        sleep 1 9>&-
    done
}
# Why the gate stayed shut, with what is critical by keepwell's own word.
say_troubles() {
    local line
    warn "the health gate failed, after $timeout s:"
    for line in "${troubles[@]}"; do warn "  $line"; done
    if [ "$(active keepwell.service)" = active ]; then
        { keepwell --no-color check 2>/dev/null || true; } | sed -n 's/^critical/deploy:   critical/p' |
            head -n 20 >&2
    else
        warn "  the last lines of its log:"
        journalctl --unit keepwell.service --lines 10 --no-pager --output cat 2>/dev/null |
            sed 's/^/deploy:     /' >&2 || true
    fi
}

### Going back

changed=
finish() {
    local code=$?
    trap '' INT TERM HUP
    set +e
    if [ -n "$changed" ]; then
        go_back || code=2
    fi
    rm -rf --one-file-system "${stage:-}"
    [ -z "${made_etc-}" ] || rmdir "$etc" 2>/dev/null
    rmdir --ignore-fail-on-non-empty "$state" 2>/dev/null
    exit "$code"
}

# Puts back what $rollback holds: configuration, package, and whether it ran.
go_back() {
    local file version package clean=0 was_active was_enabled end where status
    version=$(<"$rollback/version") package=$(<"$rollback/package")
    was_active=$(<"$rollback/active") was_enabled=$(<"$rollback/enabled")
    warn "rolling back to ${version:-a host without keepwell}"
    for file in "${managed[@]}"; do
        if [ -e "$rollback/etc/$file" ]; then
            mkdir -p "$(dirname "$etc/$file")"
            cp -a "$rollback/etc/$file" "$etc/$file" || clean=1
        else
            rm -f "$etc/$file"
        fi
    done
    if [ -z "$version" ]; then
        systemctl stop keepwell.service 2>/dev/null
        remove_package "$(<"$rollback/remove")" || clean=1
        # What was there before belongs to somebody.
        [ -e "$rollback/etc" ] || rm -rf --one-file-system "$etc"
        for file in "${managed[@]}"; do
            [ ! -e "$rollback/etc/$file" ] || cp -a "$rollback/etc/$file" "$etc/$file" || clean=1
        done
    elif [ "$(installed_identity)" != "$(<"$rollback/identity")" ]; then
        if [ -n "$package" ]; then
            put_back_package "$package" || clean=1
        else
            warn "the package of $version is not on this host any more: only the configuration was put back."
            warn "  get keepwell $version and run: $0 PACKAGE"
            clean=1
        fi
    fi
    systemctl daemon-reload
    if [ -n "$version" ]; then
        case $was_enabled in
        enabled) systemctl enable --quiet keepwell.service || clean=1 ;;
        disabled) systemctl disable --quiet keepwell.service || clean=1 ;;
        esac
        systemctl reset-failed keepwell.service 2>/dev/null
        if [ "$was_active" = active ]; then
            systemctl restart keepwell.service || clean=1
        else
            systemctl stop keepwell.service || clean=1
        fi
    fi
    # Trust is good.
    if [ -n "$version" ] && [ "$was_active" = active ]; then
        where=$(listens)
        end=$((SECONDS + timeout))
        # shellcheck disable=SC2086
        until [ "$(active keepwell.service)" = active ] &&
            { [ -z "$where" ] || { status=$(health $where) && [ "$status" = 200 ]; }; }; do
            [ "$SECONDS" -lt "$end" ] || break
            sleep 1 9>&-
        done
        if [ "$(active keepwell.service)" != active ] || { [ -n "$where" ] && [ -z "${status-}" ]; }; then
            warn "keepwell does not answer after the roll-back: journalctl -u keepwell"
            clean=1
        fi
    elif [ -z "$version" ] && [ -n "$(installed_version)" ]; then
        warn "the package is still installed"
        clean=1
    fi
    if [ "$clean" != 0 ]; then
        warn "not all could be put back; the former configuration is kept in $rollback/etc"
        rm -f "$rollback/ready"
        return 1
    fi
    rm -rf --one-file-system "$rollback" "$state/incoming.$kind"
    if [ -z "$version" ]; then
        warn "rolled back: keepwell is removed again"
    else
        warn "rolled back: keepwell $version, $(active keepwell.service)${status:+, /health answers $status}"
    fi
    return 0
}

### The lock, and what an earlier run left

lock=/run/keepwell-deploy.lock
exec 9>>"$lock"
if ! flock --nonblock 9; then
    warn "another deployment is under way on this host (process $(<"$lock"))"
    exit 75
fi
echo $$ >"$lock"
trap finish EXIT
trap 'warn "interrupted"; exit 1' INT TERM HUP

[ "$(name_of "$package")" = keepwell ] || fail "$package is not a package of keepwell"
[ -n "$dry" ] || { mkdir -p "$state" && chmod 711 "$state"; }
if [ -e "$rollback/ready" ]; then
    if [ -n "$dry" ]; then
        say "an earlier deployment did not come to its end: it would be rolled back first"
    else
        warn "an earlier deployment did not come to its end"
        go_back || exit 2
        mkdir -p "$state" && chmod 711 "$state"
    fi
fi
if [ "$(systemctl show --property=LoadState --value keepwell.service)" = masked ]; then
    fail "keepwell.service is masked: somebody does not want it to run (systemctl unmask keepwell)"
fi

### The plan: the configuration as it will be, beside the one that is

mkdir -p "$state"
chmod 711 "$state"
stage=$(mktemp -d "$state/stage.XXXXXX")
chmod 711 "$stage"
mkdir -m 755 "$stage/etc" "$stage/root"
[ ! -d "$etc" ] || cp -a "$etc/." "$stage/etc/"
mkdir -p "$stage/etc/conf.d"
chmod 755 "$stage/etc" "$stage/etc/conf.d"

version=$(version_of "$package")
former=$(installed_version)
install=
if [ -z "$former" ] || [ "$(identity_of "$package")" != "$(installed_identity)" ]; then
    install=1
fi
if [ -n "$install" ]; then
    program=$stage/root/usr/bin/keepwell
    if unpack "$package" "$stage/root" 2>"$stage/why"; then
        chmod 755 "$stage/root/usr" "$stage/root/usr/bin" "$program"
    else
        [ "$kind" = rpm ] || fail "$package cannot be unpacked:" "$(<"$stage/why")"
        program= # No cpio: whether the configuration is valid shows at the start.
    fi
else
    program=/usr/bin/keepwell
fi

# A value as systemd's EnvironmentFile= reads it back.
quoted() { # VALUE
    local value=$1
    if [[ $value =~ ^[A-Za-z0-9_./:@%+,=-]+$ ]]; then
        printf '%s' "$value"
    else
        value=${value//\\/\\\\} value=${value//\"/\\\"} value=${value//\$/\\\$} value=${value//\`/\\\`}
        printf '"%s"' "$value"
    fi
}
given=()
for name in "${variables[@]}"; do
    [ -n "${!name+set}" ] || continue
    [[ ! ${!name} =~ [[:cntrl:]] ]] || fail "the variable $name has a line break or a control character in it"
    given+=("$name")
done
if [ ${#given[@]} -gt 0 ]; then
    old=()
    [ ! -e "$etc/environment" ] || mapfile -t old <"$etc/environment"
    declare -A written=()
    {
        for line in "${old[@]}"; do
            name=${line%%=*}
            name=${name//[[:space:]]/}
            if [[ " ${given[*]} " != *" $name "* ]] || [ "$name" = "$line" ]; then
                printf '%s\n' "$line"
            elif [ -z "${written[$name]-}" ]; then
                written[$name]=1
                [ -z "${!name}" ] || printf '%s=%s\n' "$name" "$(quoted "${!name}")"
            fi
        done
        for name in "${given[@]}"; do
            [ -n "${written[$name]-}" ] || [ -z "${!name}" ] ||
                printf '%s=%s\n' "$name" "$(quoted "${!name}")"
        done
    } >"$stage/environment"
    # Only systemd reads it, as root.
    if [ -s "$stage/environment" ] || [ -e "$etc/environment" ]; then
        install --mode 600 "$stage/environment" "$stage/etc/environment"
    fi
fi
if [ -n "$config" ]; then
    install --mode 640 "$config" "$stage/etc/keepwell.toml"
fi
if [ ${#units[@]} -gt 0 ]; then
    {
        echo "# The units of the last deployment; the next one that names units writes it anew."
        for unit in "${units[@]}"; do
            printf "\n[[unit]]\nname = '%s'\nrestart = true\n" "$unit"
        done
    } >"$stage/units"
    install --mode 644 "$stage/units" "$stage/etc/$units_file"
fi
same() { # FILE FILE: in text and in who may read it
    cmp --silent "$1" "$2" && [ "$(stat --format=%a "$1")" = "$(stat --format=%a "$2")" ]
}
changes=()
for file in "${managed[@]}"; do
    if [ -e "$stage/etc/$file" ] && ! same "$stage/etc/$file" "$etc/$file"; then
        changes+=("$file")
    fi
done

### Is it valid? Asked of the new program, before anything is touched

if [ -n "$program" ]; then
    if getent group keepwell >/dev/null && [ -e "$stage/etc/keepwell.toml" ]; then
        chgrp keepwell "$stage/etc/keepwell.toml"
    fi
    if [ ! -d "$etc" ]; then
        mkdir -m 755 "$etc" # Something to lay the new one over.
        made_etc=1
    fi
    if ! as_service "$program" "$stage/etc" config check >"$stage/said" 2>&1; then
        sed 's/^/deploy:   /' "$stage/said" >&2
        fail "keepwell $version does not accept this configuration; nothing was changed"
    fi
fi

### What is there to do

restart=
[ -z "$install" ] || say "keepwell ${former:-(none)} -> $version"
[ ${#changes[@]} = 0 ] || say "configuration: ${changes[*]}"
if [ -n "$install" ] || [ ${#changes[@]} -gt 0 ] || [ "$(active keepwell.service)" != active ]; then
    restart=1
fi
if [ -z "$restart" ] && [ "$(enabled)" = enabled ]; then
    if ! gate 1; then
        say_troubles
        fail "nothing was to be changed, so nothing is rolled back"
    fi
    # Somebody installed it by other means: from now on there is something to go back to.
    if [ -z "$dry" ] && [ -z "$(former_package)" ]; then
        cp "$package" "$state/current.$kind"
    fi
    say "nothing to do: keepwell $version runs, and all is well"
    exit 0
fi
if [ -n "$dry" ]; then
    [ ${#given[@]} = 0 ] || say "variables: ${given[*]}"
    if [ -n "$former" ] && [ -n "$install" ] && [ -z "$(former_package)" ]; then
        say "the package of $former is not on this host: the roll-back could put back the configuration only"
    fi
    say "dry run: nothing was changed"
    exit 0
fi

### What is needed to go back, on the disk before the first change

rm -rf --one-file-system "$rollback"
mkdir "$rollback"
if [ -z "${made_etc-}" ]; then
    cp -a "$etc" "$rollback/etc"
fi
printf '%s' "$former" >"$rollback/version"
if [ -n "$former" ]; then
    installed_identity >"$rollback/identity"
    former_package >"$rollback/package"
else
    : >"$rollback/package"
    # State of an earlier installation is not ours to remove.
    [ -e /var/lib/keepwell ] || printf with-state >"$rollback/remove"
fi
[ -e "$rollback/remove" ] || : >"$rollback/remove"
active keepwell.service >"$rollback/active"
enabled >"$rollback/enabled"
if [ -n "$install" ] && [ -n "$former" ] && [ ! -s "$rollback/package" ]; then
    warn "the package of $former is not on this host: if this fails, only the configuration can be put back"
fi
cp "$package" "$state/incoming.$kind"
sync --file-system "$state"
touch "$rollback/ready"
changed=1
made_etc=

### Change

if [ -n "$install" ] && ! getent group keepwell >/dev/null; then
    # Whoever reads the configuration must exist before the package starts the service.
    if [ -e "$stage/root/usr/lib/sysusers.d/keepwell.conf" ]; then
        systemd-sysusers "$stage/root/usr/lib/sysusers.d/keepwell.conf"
    fi
fi
mkdir -p "$etc/conf.d"
chmod 755 "$etc" "$etc/conf.d"
for file in "${changes[@]}"; do
    # In place at once or not at all.
    cp -p "$stage/etc/$file" "$etc/$file.new~"
    chown root:root "$etc/$file.new~"
    if [ "$file" = keepwell.toml ] && getent group keepwell >/dev/null; then
        chgrp keepwell "$etc/$file.new~"
    fi
    mv -f "$etc/$file.new~" "$etc/$file"
done
before=$(run_of)
if [ -n "$install" ]; then
    install_package "$state/incoming.$kind" || fail "keepwell $version could not be installed"
fi
systemctl daemon-reload
if [ "$(enabled)" != enabled ]; then
    systemctl enable --quiet keepwell.service || fail "keepwell.service could not be enabled"
fi
# The package has started it anew, unless the host's policy keeps packages from doing so.
if [ "$(active keepwell.service)" != active ] || [ "$(run_of)" = "$before" ]; then
    systemctl reset-failed keepwell.service 2>/dev/null || true
    if ! systemctl restart keepwell.service; then
        troubles=("keepwell.service does not start")
        say_troubles
        exit 1
    fi
fi

### Is all well?

if ! gate 3; then
    say_troubles
    exit 1
fi
changed=
if [ -n "$install" ]; then
    # For whoever wants to go back by hand: deploy.sh /var/lib/keepwell-deploy/former.deb
    if [ -s "$rollback/package" ]; then
        cp "$(<"$rollback/package")" "$state/former.new~"
        mv -f "$state/former.new~" "$state/former.$kind"
    fi
    mv -f "$state/incoming.$kind" "$state/current.$kind"
else
    rm -f "$state/incoming.$kind"
fi
rm -rf --one-file-system "$rollback"
say "keepwell $version runs, /health answers 200; units by name, all active: $(watched_units | wc -l)"
