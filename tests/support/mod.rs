//! The real parts around sidedoor, each owned by the test that starts it: nginx, Pebble, an app, users under load, the `sidedoor` command.
//! Whatever is started here listens on 127.0.0.1 only, keeps its files in a temporary directory, and ends with its owner, also on a panic.
//! A double that cannot start ends the test: it has nobody to return an error to.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// One module serves the tests, the demo and the benches; none of them uses all of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod app;
mod certificate;
mod disk;
mod eventually;
mod exchange;
mod fake_ca;
mod load;
mod newer;
mod nginx;
mod pebble;
mod ports;
mod process;
mod server;
mod sidedoor;
mod tally;
mod tree;

pub use app::App;
pub use certificate::{Authority, Certificate, Identity};
pub use disk::{Disk, Scarce};
pub use eventually::eventually;
pub use exchange::{Answer, Fault, get};
pub use fake_ca::{FakeCa, Quirk};
pub use load::Load;
pub(crate) use newer::newer_pebble;
pub use nginx::Nginx;
pub use pebble::{Behaviour, Pebble};
pub use ports::free_port;
pub use process::{Process, find_program};
pub use server::Server;
pub use sidedoor::{Outcome, Running, Sidedoor};
pub use tally::{Kind, Tally};
pub use tree::Tree;
