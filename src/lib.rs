//! sidedoor: a small gate beside nginx's main gate. nginx keeps ports 80 and 443 and every app; sidedoor opens a side door for the
//! certificate authority's visit, and closes it behind it.
//!
//! # How it is laid out
//!
//! Arrows point down only, and neighbours of the middle layer don't know each other.
//!
//! **The command and the sidecar**
//! - [`cli`] is the command line: parse, ask, print. It asks a running sidecar through [`admin`], or starts an [`engine`] for itself.
//! - [`daemon`] is the sidecar: it wires an engine to the admin socket, the [`manager`], the signals and the configuration's [`watch`].
//! - [`engine`] holds the running parts; [`operations`] is what each request does with them, wherever it came from.
//!   [`serving`] puts the configuration into the data path's terms. [`metrics`] tells Prometheus what all of them count.
//!
//! **One certificate**
//! - [`issuance`] is its journey: lock, look again, account, [`doors`], order, validation, save, [`deploy`], [`handover`]. What is done is written down
//!   before the next step, so that whoever comes after a crash goes on from there.
//! - [`manager`] sleeps until the earliest is due; each then has a task of its own. [`schedule`] says when, and [`budget`] whether a CA's limits
//!   allow it; both are pure.
//! - [`status`] compares what is stored with what nginx serves; [`check`] tells what is in the way of validation. [`progress`] and [`report`] are how anything is told.
//!
//! [`import`] takes over what another client has.
//!
//! **Adapters**, each of which owns one outside thing
//! - [`proxy`] is the data path. It knows nothing of ACME beyond its token map, and works without the rest.
//! - [`acme`] is the only code that names instant-acme.
//! - [`nginx`] tests, reloads and reads nginx, knocks at it, and writes a door's text. All tests and reloads go through one
//!   [`Control`](nginx::control::Control), which coalesces them and takes back what nginx refuses.
//! - [`store`] is the one place that knows the state directory. [`files`], [`lock`], [`inherited`], [`supervisor`], [`command`] and [`tls`] are how it and others touch the world.
//!
//! **Pure**: no I/O, no clock; time and randomness are arguments
//! - [`identifier`], [`challenge`], [`address`], [`network`], [`upstream`], [`principal`]: names and addresses that exist only if they are well-formed.
//! - [`exposition`]: a page of metrics. [`limits`]: how much the data path allows. [`certificate`]: keys, requests, chains. [`config`]: what the operator wrote (it reads its one file, and nothing else).
//!
//! # What must always hold
//!
//! 1. nginx's configuration is valid after every step: `nginx -t` before every reload, and what was there before is put back.
//! 2. No request of an app's users fails because of us.
//! 3. No door is left behind; a door that another living process holds is not swept.
//! 4. Key and certificate match before they go live, and go live together, by one rename.
//! 5. One certificate's failure never delays another's.
//! 6. Bad input gets a clear error and changes nothing.
//! 7. A token that isn't ours goes on to the app, and so does everything else.
//! 8. No check of ours stands in the way of a CA that would succeed.
//! 9. Names and paths that reach an nginx file or a hook are parsed first; nothing is ever passed through a shell.

pub mod accounts;
pub mod acme;
pub mod address;
pub mod admin;
pub mod agenda;
pub mod budget;
pub mod certificate;
pub mod challenge;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod convoy;
pub mod daemon;
pub mod deploy;
pub mod doors;
pub mod engine;
pub mod exposition;
pub mod files;
pub mod handover;
pub mod identifier;
pub mod import;
pub mod inherited;
pub mod issuance;
pub mod jobs;
pub mod limits;
pub mod lock;
pub mod manager;
pub mod metrics;
pub mod network;
pub mod nginx;
pub mod operations;
pub mod principal;
pub mod progress;
pub mod proxy;
pub mod random;
pub mod report;
pub mod resolver;
pub mod schedule;
pub mod serving;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod watch;
