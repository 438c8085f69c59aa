#!/bin/sh
# Runs every fuzz target for a moment: fuzz/smoke.sh [SECONDS]. What a target finds is in fuzz/artifacts/TARGET; the command to repeat it is printed.
set -eu
cd "$(dirname "$0")"
seconds=${1:-10}
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "Fuzzing needs a nightly Rust: rustup toolchain install nightly --profile minimal (rustup: https://rustup.rs)" >&2
    exit 1
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "Installing cargo-fuzz (about a minute)"
    cargo install --locked --quiet cargo-fuzz
fi
# No sanitizer: there is no unsafe code here for one to watch. The development profile checks arithmetic, and builds in half the time.
flags="--dev --sanitizer none"
# shellcheck disable=SC2086
cargo +nightly fuzz build $flags
for source in fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    # New finds go to the first directory; the second is kept with the sources.
    mkdir -p "corpus/$target" "seeds/$target"
    echo "Fuzzing $target for $seconds s"
    # shellcheck disable=SC2086
    cargo +nightly fuzz run $flags "$target" "corpus/$target" "seeds/$target" -- -max_total_time="$seconds" -verbosity=0 -print_final_stats=1
done
