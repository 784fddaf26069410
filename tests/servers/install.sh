#!/bin/bash
# Install what the real servers of the tests need (Debian 12 or newer, current Ubuntu), and fill their cache.
#
#   tests/servers/install.sh [kafka] [postgres] [timescale] [anvil]      all four where none is named
#
# Says nothing and calls no package manager when all is there already. The downloads (Kafka's jars, npm's packages)
# go to $PLUMBLINE_CACHE, or plumbline/ in the user's cache directory, once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(kafka postgres timescale anvil)

has() { command -v "$1" >/dev/null 2>&1; }
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

packages=()
need() { # COMMAND PACKAGE
    has "$1" || packages+=("$2")
}

need python3 python3
for server in "${wanted[@]}"; do
    case $server in
    kafka)
        need java default-jre-headless
        need mvn maven
        need kcat kcat
        ;;
    postgres)
        has_postgres || packages+=(postgresql)
        need psql postgresql-client
        ;;
    timescale)
        need node nodejs
        need npm npm
        need psql postgresql-client
        ;;
    anvil)
        need npm npm
        ;;
    *)
        echo "install.sh: no server is called $server; expected kafka, postgres, timescale or anvil" >&2
        exit 2
        ;;
    esac
done

if [ ${#packages[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! has sudo; then
            echo "install.sh: these packages are missing, and there is no sudo to install them: ${packages[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    if ! has apt-get; then
        echo "install.sh: these packages are missing, and there is no apt-get to install them: ${packages[*]}" >&2
        exit 1
    fi
    echo "installing ${packages[*]}" >&2
    apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }
    apt_get update
    conf=/etc/postgresql-common/createcluster.conf
    changed=
    if [[ " ${packages[*]} " == *" postgresql "* ]]; then
        # The tests make clusters of their own: without this, Debian would also make one, and start it at each boot.
        apt_get install -y --no-install-recommends postgresql-common
        if grep -q '^#create_main_cluster = true' "$conf"; then
            "${as_root[@]}" sed -i 's/^#create_main_cluster = true/create_main_cluster = false/' "$conf"
            changed=yes
        fi
    fi
    apt_get install -y --no-install-recommends "${packages[@]}"
    if [ -n "$changed" ]; then
        "${as_root[@]}" sed -i 's/^create_main_cluster = false/#create_main_cluster = true/' "$conf"
    fi
fi

# Python's own start is most of what this costs when there is nothing to do.
cd "$here/.."
exec python3 -S -m servers install "${wanted[@]}"
