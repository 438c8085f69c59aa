//! Where a newer Pebble is than Debian's: with renewal information and profiles. `make needs` builds it where there is Go.

use std::io::Write;
use std::path::PathBuf;

/// As in tools/install-needs.sh.
const VERSION: &str = "v2.10.1";

/// The program; nothing where it was not built, which is said so that nobody misses it. Where `CI` is set, that fails the test.
pub(crate) fn newer_pebble() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(home()?.join(".cache")));
    let program = cache.map(|cache| cache.join(format!("sidedoor/pebble-{VERSION}/pebble")));
    if let Some(program) = program.filter(|program| program.is_file()) {
        return Some(program);
    }
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    let missing =
        format!("{test} did NOT run: it needs Pebble {VERSION}; install Go, then `make needs`");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "{missing}"
    );
    // Past the harness, which keeps to itself what a test prints that does not fail.
    let _ = writeln!(std::io::stderr(), "\n{missing}\n");
    None
}
