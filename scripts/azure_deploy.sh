#!/bin/bash
# scripts/deploy.sh on an Azure virtual machine, through the Azure CLI: no SSH, no open port.
#
#   scripts/azure_deploy.sh --resource-group NAME --vm-name NAME PACKAGE... [OPTIONS]
#
# The package gets there in one of two ways:
#   --package-url URL --sha256 SUM
#                      the machine fetches it from there, by https
#   [--package FILE] --storage-account NAME --container NAME
#                      FILE (else the newest in dist/) is put into this container for the time of
#                      the deployment; the machine reads it with a link that is good for two hours
#
# OPTIONS
#   --subscription ID  not the one that `az` has by default
#   --unit NAME, --config FILE, --env NAME, --timeout SECONDS
#                      as of scripts/deploy.sh; FILE is one of this machine, of at most 64 KiB
#   --dry-run          check all that can be checked and deploy nothing; the package does travel
#   --help             this text
#
# The same variables of the environment as with scripts/deploy.sh are taken to the machine, as
# protected parameters: encrypted on the way, in no log, on no command line.
#
# Exit code: that of scripts/deploy.sh over there (0 done, 1 failed and rolled back, 2 not all could
# be put back, 75 another deployment is under way); 69 when it could not be run there or nothing is
# known of how it ended; 64 a mistake in the arguments.
#
# AZ: the Azure CLI, where it is not in PATH. It must be logged in (az login).
set -euo pipefail
umask 077

here=$(cd "$(dirname "$0")" && pwd)
deploy=$here/deploy.sh
# What the agent on the machine takes at most.
script_limit=$((256 * 1024))
config_limit=$((64 * 1024))
# Between the first two tries of what Azure throttles, in seconds; doubled each time.
pause=${AZURE_DEPLOY_PAUSE:-10}

say() { printf '%s\n' "azure_deploy: $*"; }
warn() { printf '%s\n' "azure_deploy: $*" >&2; }
unknown() { # REASON...
    local line
    for line in "$@"; do warn "$line"; done
    exit 69
}
mistake() {
    warn "$1; --help lists the arguments"
    exit 64
}
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }

group='' machine='' subscription='' package='' url='' sum='' account='' container='' config='' dry=''
arguments=() # for deploy.sh
extra=()     # variables beyond those that deploy.sh knows
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=1 ;;
    --help | -h)
        usage
        exit 0
        ;;
    --*)
        option=${1%%=*}
        if [ "$option" = "$1" ]; then
            [ $# -ge 2 ] || mistake "$1 needs a value"
            value=$2
            shift
        else
            value=${1#*=}
        fi
        case $option in
        --resource-group) group=$value ;;
        --vm-name) machine=$value ;;
        --subscription) subscription=$value ;;
        --package) package=$value ;;
        --package-url | --url) url=$value ;;
        --sha256) sum=$value ;;
        --storage-account) account=$value ;;
        --container) container=$value ;;
        --config) config=$value ;;
        --unit)
            [[ $value =~ ^[][A-Za-z0-9:_.@*?\\-]+$ ]] || mistake "'$value' is not the name of a unit"
            arguments+=("$option" "$value")
            ;;
        --timeout)
            [[ $value =~ ^[1-9][0-9]{0,3}$ ]] || mistake "--timeout takes whole seconds, 1 to 9999"
            arguments+=("$option" "$value")
            ;;
        --env)
            [[ $value =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || mistake "'$value' is not the name of a variable"
            [ -n "${!value+set}" ] || mistake "--env $value: there is no such variable in the environment"
            arguments+=("$option" "$value")
            extra+=("$value")
            ;;
        *) mistake "'$option' is not an argument" ;;
        esac
        ;;
    -*) mistake "'$1' is not an argument" ;;
    *)
        [ -z "$package" ] || mistake "one package only: '$package' and '$1' were given"
        package=$1
        ;;
    esac
    shift
done
[ -n "$group" ] || mistake "--resource-group is missing"
[ -n "$machine" ] || mistake "--vm-name is missing"
if [ -n "$url" ]; then
    [ -z "$package$account$container" ] || mistake "--package-url goes without a package and a storage account"
    [[ $url == https://* ]] || mistake "--package-url must begin with https://"
    [[ $url != *[[:space:][:cntrl:]]* ]] || mistake "--package-url must not contain spaces"
    [[ ${sum,,} =~ ^[0-9a-f]{64}$ ]] || mistake "--package-url needs --sha256, 64 hexadecimal digits (sha256sum FILE)"
    name=${url%%[?#]*}
    name=${name##*/}
else
    [[ -n $account && -n $container ]] ||
        mistake "say how the package gets to the machine: --package-url and --sha256, or --storage-account and --container"
    if [ -z "$package" ]; then
        # By time of writing: the newest first. Names of packages have no blanks.
        # shellcheck disable=SC2012
        package=$(ls -t "$here"/../dist/*.deb "$here"/../dist/*.rpm 2>/dev/null | head -n 1) || true
        [ -n "$package" ] || mistake "no package is named, and none is in dist/ (scripts/package makes one)"
    fi
    [ -r "$package" ] || mistake "the package $package cannot be read"
    found=$(sha256sum -- "$package")
    found=${found%% *}
    [ -z "$sum" ] || [ "${sum,,}" = "$found" ] || mistake "the SHA-256 of $package is $found, not $sum"
    sum=$found
    name=${package##*/}
fi
sum=${sum,,}
[[ $name =~ ^[A-Za-z0-9._+~-]+\.(deb|rpm)$ ]] || mistake "'$name' is neither a .deb nor an .rpm"
if [ -n "$config" ]; then
    [ -r "$config" ] || mistake "the configuration $config cannot be read"
    [ "$(wc -c <"$config")" -le "$config_limit" ] || mistake "$config is larger than 64 KiB"
fi

### The Azure CLI

az=${AZ:-az}
command -v "$az" >/dev/null || unknown "the Azure CLI is not here ('$az' is not found)" \
    "install it, or name it with AZ=/path/to/az"
of_subscription=()
[ -z "$subscription" ] || of_subscription=(--subscription "$subscription")

work=$(mktemp -d)
created=
uploaded=
clean_up() {
    local code=$?
    trap '' INT TERM HUP
    if [ -n "$created" ]; then
        # It holds the parameters, encrypted; a machine has room for few of them.
        if ! azure vm run-command delete --resource-group "$group" --vm-name "$machine" \
            --name "$created" --yes --output none; then
            warn "the run command $created is left on $machine; to remove it:"
            warn "  az vm run-command delete --resource-group $group --vm-name $machine --name $created --yes"
        fi
    fi
    if [ -n "$uploaded" ]; then
        azure storage blob delete --account-name "$account" --container-name "$container" \
            --name "$uploaded" --auth-mode login --output none ||
            warn "the package is left in $account/$container as $uploaded"
    fi
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'warn "interrupted; what runs on $machine goes on to its own end"; exit 69' INT TERM HUP

# `az`, again and again while Azure says that there are too many requests. What it prints is in
# $work/said for `answer`; why it failed has been said.
azure() { # ARGUMENTS...
    local try wait=$pause
    for try in 1 2 3 4 5; do
        if "$az" "$@" "${of_subscription[@]}" --only-show-errors \
            >"$work/said" 2>"$work/why" </dev/null; then
            return 0
        fi
        if [ "$try" = 5 ] || ! grep -qiE 'TooManyRequests|RequestsThrottled|\b429\b|too many requests' "$work/why"; then
            break
        fi
        warn "Azure has too many requests; again in $wait s"
        sleep "$wait"
        wait=$((wait * 2))
    done
    warn "az $1 $2 $3 failed:"
    sed 's/^/azure_deploy:   /' "$work/why" >&2
    return 1
}
answer() { cat "$work/said"; }
# Nothing is None there.
shown() { answer | sed '/^$/d; /^None$/d; s/^/  /'; }

if ! azure account show --query id --output tsv; then
    unknown "log in with: az login"
fi
azure vm show --resource-group "$group" --name "$machine" --query location --output tsv ||
    unknown "there is nothing to deploy to"
location=$(answer)

### What the machine is to run

# Each variable in a file: `NAME=@FILE` keeps its value off the command line.
mkdir "$work/secret"
protected=()
protect() { # NAME VALUE
    printf '%s' "$2" >"$work/secret/$1"
    protected+=("$1=@$work/secret/$1")
}
read -r -d '' -a variables < <(sed -n '/^# Variables that/,/^# sudo/s/^#   //p' "$deploy") || true
given=()
empty=()
for variable in "${variables[@]}" "${extra[@]}"; do
    [ -n "${!variable+set}" ] || continue
    [[ ! ${!variable} =~ [[:cntrl:]] ]] ||
        mistake "the variable $variable has a line break or a control character in it"
    given+=("$variable")
    # A parameter cannot be empty.
    if [ -n "${!variable}" ]; then
        protect "$variable" "${!variable}"
    else
        empty+=("$variable")
    fi
done
if [ -n "$config" ]; then
    protect KEEPWELL_DEPLOY_CONFIG "$(base64 <"$config" | tr -d '\n')"
    # shellcheck disable=SC2016
    arguments+=(--config '$folder/keepwell.toml')
fi
[ -z "$dry" ] || arguments+=(--dry-run)

{
    cat <<'SCRIPT'
#!/bin/bash
# Made by azure_deploy.sh: fetches a package of keepwell and deploys it.
set -euo pipefail
umask 077
folder=$(mktemp -d /var/tmp/keepwell-deploy.XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
SCRIPT
    printf 'name=%q\nsum=%q\n' "$name" "$sum"
    for variable in "${empty[@]}"; do printf 'export %s=\n' "$variable"; done
    cat <<'SCRIPT'
# Addresses may carry a signature: they stay off the command line here too.
if command -v curl >/dev/null; then
    printf 'url = "%s"\n' "$KEEPWELL_DEPLOY_URL" |
        curl --fail --silent --show-error --location --proto =https --proto-redir =https --retry 3 \
            --max-time 600 --output "$name" --config -
elif command -v wget >/dev/null; then
    printf '%s\n' "$KEEPWELL_DEPLOY_URL" |
        wget --quiet --https-only --timeout=60 --tries=3 --output-document="$name" --input-file=-
else
    echo "neither curl nor wget is here to fetch the package with" >&2
    exit 69
fi || {
    echo "the package could not be fetched; nothing was changed" >&2
    exit 69
}
if ! echo "$sum  $name" | sha256sum --check --quiet --strict >/dev/null 2>&1; then
    echo "what was fetched is not the package that was meant: its SHA-256 is another; nothing was changed" >&2
    exit 69
fi
if [ -n "${KEEPWELL_DEPLOY_CONFIG-}" ]; then
    base64 --decode <<<"$KEEPWELL_DEPLOY_CONFIG" >keepwell.toml
fi
unset KEEPWELL_DEPLOY_URL KEEPWELL_DEPLOY_CONFIG
SCRIPT
    echo "cat >deploy.sh <<'END-OF-DEPLOY'"
    cat "$deploy"
    echo "END-OF-DEPLOY"
    # shellcheck disable=SC2016
    printf 'bash deploy.sh "$folder/$name"'
    for argument in "${arguments[@]}"; do
        # shellcheck disable=SC2016
        if [ "$argument" = '$folder/keepwell.toml' ]; then
            printf ' "$folder/keepwell.toml"'
        else
            printf ' %q' "$argument"
        fi
    done
    echo
} >"$work/script"
[ "$(wc -c <"$work/script")" -le "$script_limit" ] || mistake "these arguments are too long"

say "${dry:+dry run: }$name to $machine in $group ($location)"
[ ${#given[@]} = 0 ] || say "variables: ${given[*]}"

### Off it goes

if [ -z "$url" ]; then
    blob=keepwell/$sum/$name
    azure storage blob upload --account-name "$account" --container-name "$container" --name "$blob" \
        --file "$package" --overwrite true --no-progress --auth-mode login --output none ||
        unknown "the package could not be uploaded: your account needs the role Storage Blob Data Contributor there"
    uploaded=$blob
    TZ=UTC printf -v expiry '%(%Y-%m-%dT%H:%MZ)T' "$(($(date +%s) + 7200))"
    azure storage blob generate-sas --account-name "$account" --container-name "$container" \
        --name "$blob" --permissions r --expiry "$expiry" --https-only --as-user --auth-mode login \
        --full-uri --output tsv || unknown "no link to the package could be had"
    url=$(answer)
fi
# As curl's configuration quotes it.
url=${url//\\/%5C}
protect KEEPWELL_DEPLOY_URL "${url//\"/%22}"

run=keepwell-deploy-$(date -u +%Y%m%dT%H%M%S)-$$
created=$run
azure vm run-command create --resource-group "$group" --vm-name "$machine" --name "$run" \
    --location "$location" --script "@$work/script" --protected-parameters "${protected[@]}" \
    --async-execution false --timeout-in-seconds 1800 --output none ||
    unknown "the deployment could not be run on $machine (is it running, and its agent ready?)"

look=(vm run-command show --resource-group "$group" --vm-name "$machine" --name "$run" --instance-view)
azure "${look[@]}" --query instanceView.output --output tsv || unknown "how it ended is not known"
shown
azure "${look[@]}" --query instanceView.error --output tsv || unknown "how it ended is not known"
shown >&2
azure "${look[@]}" --query "[instanceView.executionState, instanceView.exitCode]" --output tsv ||
    unknown "how it ended is not known"
{ read -r ended && read -r code; } < <(answer | tr '\t' '\n') || true
case ${ended-}:${code-} in
Succeeded:0)
    say "done: $machine"
    ;;
*:[1-9] | *:[1-9][0-9] | *:[1-9][0-9][0-9])
    warn "it failed on $machine (exit code $code)"
    exit "$code"
    ;;
*) unknown "how it ended on $machine is not known: ${ended:-no state}, exit code ${code:-none}" ;;
esac
