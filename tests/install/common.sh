# Sourced by ./demo and ./tests/run: what a machine needs, and how the tree is built. Bash; the caller has set `root`.

build_packages=(cmake ninja-build gcc g++ libc6-dev pkg-config libcurl4-openssl-dev liblua5.4-dev libpq-dev
  librdkafka-dev libsimdjson-dev libsqlite3-dev libyaml-dev python3)
demo_packages=(sqlite3)
test_packages=(ccache clang clang-format clang-tidy git libcmocka-dev llvm tzdata valgrind)

compose_packages=(binutils debootstrap python3-jsonschema python3-yaml)
command -v npm >/dev/null || compose_packages+=(npm)     # one from elsewhere (NodeSource) will do, and excludes Debian's

# The distribution's own Python: the one that its packages (python3-yaml) are for.
python=/usr/bin/python3
[ -x "$python" ] || python=python3

say() { printf '%s\n' "$*" >&2; }
die() { say "$0: $*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "packages are missing and this is neither root nor is there sudo; please run as root: $*"
  fi
}

# need_packages NAME...: installs those that are missing; asks nothing and touches no network when none is.
need_packages() {
  command -v dpkg-query >/dev/null || {
    say "not Debian or Ubuntu: nothing is installed for you; needed are what Debian calls: $*"
    return 0
  }
  local here missing=() name
  here=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' || true)   # fails when one is unknown
  for name in "$@"; do
    grep -qxF -- "$name" <<<"$here" || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
  local log; log=$(mktemp)
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || as_root "${apt[@]}" update >"$log" 2>&1
  as_root "${apt[@]}" install --no-install-recommends -y "${missing[@]}" >"$log" 2>&1 ||
    { as_root "${apt[@]}" update && as_root "${apt[@]}" install --no-install-recommends -y "${missing[@]}"; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; rm -f "$log"; die "apt-get could not install: ${missing[*]}"; }
  rm -f "$log"
}

# What sanitizers need besides clang: the runtime of that very version.
need_clang_runtime() {
  command -v dpkg-query >/dev/null && need_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

# quietly LOG COMMAND...: shows the end of its output only when it fails.
quietly() {
  local log=$1; shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 || { tail -n 60 "$log" >&2; say "failed: $* (whole output in ${log#"$root"/})"; return 1; }
}

# configure DIR [CMAKE OPTION...]: once; again only when an option is new.
configure() {
  local dir=$1; shift
  local stamp="$dir/.configured-with"
  [ -f "$dir/build.ninja" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$*" ] && return 0
  quietly "$dir/configure.log" cmake -S "$root" -B "$dir" -G Ninja "$@" || return 1
  printf '%s' "$*" >"$stamp"
}

# The binary and its plugins, by target name: what ./demo needs, without the tests.
program_targets() {
  local list
  printf 'plumbline\n'
  for list in "$root"/plugins/*/CMakeLists.txt; do
    sed -n 's/^ *pl_add_plugin(\([a-z0-9_]*\).*/plugin_\1/p' "$list"
  done
}

# build_program: the binary and its plugins into build/. Says something only when there is something to do.
build_program() {
  local begun=$SECONDS targets
  [ -f build/build.ninja ] || say "Building Plumbline into build/ (once) ..."
  # An existing build keeps its options: ./tests/run builds there too, with the tests.
  [ -f build/build.ninja ] || configure build -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPL_TESTS=OFF || exit 1
  mapfile -t targets < <(program_targets)
  quietly build/logs/build-demo.log cmake --build build --target "${targets[@]}" || exit 1
  [ $((SECONDS - begun)) -lt 3 ] || say "Built in $((SECONDS - begun)) s."
}
