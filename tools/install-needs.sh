#!/bin/sh
# Installs what sidedoor's tests, demo or benches need and is missing: Debian packages (as root), Rust, and a newer Pebble where there is Go.
# With nothing missing it says nothing, needs no root and no network.
#
#     tools/install-needs.sh test|demo|bench|fuzz
set -eu

purpose=${1:?usage: tools/install-needs.sh test|demo|bench|fuzz}
# Servers live where an ordinary user's PATH doesn't look, and rustup's cargo may be newer than the system's.
PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/usr/local/sbin"
RUST_NEEDED=1.89
PEBBLE_NEWER=v2.10.1

say() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# program:Debian package
case $purpose in
test) needs="nginx:nginx pebble:pebble pebble-challtestsrv:pebble cc:gcc
    certbot:certbot lego:lego dehydrated:dehydrated" ;;
demo) needs="nginx:nginx pebble:pebble pebble-challtestsrv:pebble cc:gcc" ;;
bench) needs="nginx:nginx pebble:pebble pebble-challtestsrv:pebble cc:gcc
    certbot:certbot lego:lego dehydrated:dehydrated uacme:uacme caddy:caddy time:time" ;;
fuzz) needs="cc:gcc c++:g++" ;;
*) say "install-needs.sh: test, demo, bench or fuzz, not $purpose"; exit 2 ;;
esac

recent_cargo() {
    has cargo && version=$(cargo --version 2>/dev/null) || return 1
    version=${version#cargo }
    lowest=$(printf '%s\n%s\n' "$RUST_NEEDED" "${version%% *}" | sort -V | head -n 1)
    [ "$lowest" = "$RUST_NEEDED" ]
}

missing="" packages=""
for need in $needs; do
    if ! has "${need%%:*}"; then
        missing="$missing ${need%%:*}"
        case " $packages " in *" ${need#*:} "*) ;; *) packages="$packages ${need#*:}" ;; esac
    fi
done
# rustup itself has to be fetched.
if ! recent_cargo && ! has curl; then
    missing="$missing curl" packages="$packages curl ca-certificates"
fi

if [ -n "$missing" ]; then
    if ! has apt-get; then
        say "Missing:$missing. There is no apt-get here: install them with this system's package manager, then try again."
        exit 1
    elif [ "$(id -u)" -ne 0 ]; then
        say "Missing:$missing. Install them, then try again:"
        say "    sudo apt-get update && sudo apt-get install --no-install-recommends$packages"
        exit 1
    fi
    say "Installing the Debian packages$packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -qq --no-install-recommends $packages >&2
fi

if ! recent_cargo; then
    say "No cargo $RUST_NEEDED or newer here: installing the stable Rust through rustup (https://rustup.rs) into $HOME/.cargo and $HOME/.rustup"
    if ! has rustup; then
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --no-modify-path >&2
    else
        rustup toolchain install stable --profile minimal >&2
        rustup default stable >&2
    fi
    recent_cargo || { say "There is still no cargo $RUST_NEEDED: see https://rustup.rs"; exit 1; }
fi

if [ "$purpose" = test ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    if ! has rustup; then
        say "Missing: rustfmt and clippy of the cargo in use. Install them (Debian: rustfmt, rust-clippy), then try again."
        exit 1
    fi
    say "Installing rustfmt and clippy"
    rustup component add rustfmt clippy >&2
fi

if [ "$purpose" = fuzz ] && ! cargo +nightly --version >/dev/null 2>&1; then
    if ! has rustup; then
        say "Missing: a nightly Rust. Install rustup (https://rustup.rs), then try again."
        exit 1
    fi
    say "Installing a nightly Rust"
    rustup toolchain install nightly --profile minimal >&2
fi

# Debian's Pebble knows no renewal information, profiles or dns-persist-01; tests of those use this one, where there is Go to build it.
newer=${XDG_CACHE_HOME:-$HOME/.cache}/sidedoor/pebble-$PEBBLE_NEWER
if [ "$purpose" = test ] && has go && ! [ -x "$newer/pebble-challtestsrv" ]; then
    say "Building Pebble $PEBBLE_NEWER into $newer"
    for command in pebble pebble-challtestsrv; do
        GOBIN=$newer go install "github.com/letsencrypt/pebble/v2/cmd/$command@$PEBBLE_NEWER" >&2 ||
            say "$command $PEBBLE_NEWER couldn't be built: the tests that need it are going to say so"
    done
fi
