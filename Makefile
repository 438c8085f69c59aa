# make test         what CI runs: installs what is missing, then formatting, lints and all tests
# make demo         one issuance through a real nginx under load, to watch
# make fuzz-smoke   ten seconds of every fuzz target
# make bench        the figures of benches/README.md

# rustup's cargo, where there is one, is the newer.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: test demo bench fuzz-smoke needs

test: needs
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test --no-fail-fast --doc
	@# Last, and all of them even if one fails: so the runner's own closing line is the last.
	cargo test --no-fail-fast --lib --bins --tests

needs:
	@tools/install-needs.sh test

fuzz-smoke:
	@tools/install-needs.sh fuzz
	fuzz/smoke.sh 10

demo:
	@tools/install-needs.sh demo
	@echo "Building (the first time this takes a few minutes)"
	@cargo build --quiet --release --bin sidedoor --example demo
	@cargo run --quiet --release --example demo

bench:
	@tools/install-needs.sh bench
	cargo bench --bench token_map
	cargo bench --bench issuance
	cargo bench --bench scale
