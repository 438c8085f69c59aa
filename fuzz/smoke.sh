#!/bin/sh
# Runs every target for a moment: fuzz/smoke.sh [SECONDS]. Needs a nightly compiler, but not cargo-fuzz: the flags are the ones it would give.
set -eu
cd "$(dirname "$0")"
seconds=${1:-10}
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# A target of its own keeps the flags away from build scripts.
cargo +nightly build --target "$target"
for source in fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    mkdir -p "corpus/$name" artifacts
    "target/$target/debug/$name" -max_total_time="$seconds" -artifact_prefix=artifacts/ -print_final_stats=1 "corpus/$name"
done
