//! The token map beside the maps it could have been: what a read costs, alone and beside a busy writer, and what a write costs.
//! `cargo bench --bench token_map`; benches/README.md keeps the figures.
// A bench that can't be set up has nobody to return an error to; the macro's own items have no docs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use sidedoor::challenge::{KeyAuthorization, Token};
use sidedoor::proxy::challenges::{Challenges, Presented};

const SIZES: [usize; 4] = [1, 100, 10_000, 100_000];

/// The shipped map can only be filled one token at a time, each time copying all it has: beyond this size that takes minutes.
const SHIPPED_UP_TO: usize = 10_000;

/// What a challenge request and an issuance ask of the map.
trait TokenMap: Sync {
    /// The body for a token.
    fn read(&self, token: &str) -> Option<Bytes>;
    /// One token comes and goes again: two writes.
    fn write(&self, key_authorization: &KeyAuthorization);
}

/// The map that ships, with its tokens.
struct Shipped {
    challenges: Arc<Challenges>,
    _presented: Vec<Presented>,
}

impl Shipped {
    fn holding(answers: &[KeyAuthorization]) -> Self {
        let challenges = Arc::new(Challenges::default());
        let presented = answers
            .iter()
            .map(|answer| challenges.present(answer))
            .collect();
        Self {
            challenges,
            _presented: presented,
        }
    }
}

impl TokenMap for Shipped {
    fn read(&self, token: &str) -> Option<Bytes> {
        Some(self.challenges.answer(token)?.body())
    }

    fn write(&self, key_authorization: &KeyAuthorization) {
        drop(self.challenges.present(key_authorization));
    }
}

/// What the shipped map is inside, without its visits; can be filled at once.
#[derive(Default)]
struct Swapped {
    answers: ArcSwap<HashMap<Token, Arc<Bytes>>>,
    writing: Mutex<()>,
}

impl Swapped {
    fn holding(answers: &[KeyAuthorization]) -> Self {
        Self {
            answers: ArcSwap::from_pointee(answers.iter().map(entry).collect()),
            writing: Mutex::default(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Token, Arc<Bytes>>)) {
        let _one_at_a_time = self.writing.lock().unwrap();
        let mut answers = HashMap::clone(&self.answers.load());
        change(&mut answers);
        self.answers.store(Arc::new(answers));
    }
}

impl TokenMap for Swapped {
    fn read(&self, token: &str) -> Option<Bytes> {
        let answer = self.answers.load().get(token).cloned()?;
        Some(Bytes::clone(&answer))
    }

    fn write(&self, key_authorization: &KeyAuthorization) {
        let (token, body) = entry(key_authorization);
        self.change(|answers| drop(answers.insert(token.clone(), body)));
        self.change(|answers| drop(answers.remove(&token)));
    }
}

impl TokenMap for papaya::HashMap<Token, Arc<Bytes>> {
    fn read(&self, token: &str) -> Option<Bytes> {
        let answer = self.pin().get(token).cloned()?;
        Some(Bytes::clone(&answer))
    }

    fn write(&self, key_authorization: &KeyAuthorization) {
        let (token, body) = entry(key_authorization);
        self.pin().insert(token.clone(), body);
        self.pin().remove(&token);
    }
}

impl TokenMap for DashMap<Token, Arc<Bytes>> {
    fn read(&self, token: &str) -> Option<Bytes> {
        let answer = self.get(token).map(|answer| Arc::clone(&answer))?;
        Some(Bytes::clone(&answer))
    }

    fn write(&self, key_authorization: &KeyAuthorization) {
        let (token, body) = entry(key_authorization);
        self.insert(token.clone(), body);
        self.remove(&token);
    }
}

fn entry(answer: &KeyAuthorization) -> (Token, Arc<Bytes>) {
    let body = Bytes::copy_from_slice(answer.as_str().as_bytes());
    (answer.token().clone(), Arc::new(body))
}

/// As long as Let's Encrypt's.
fn key_authorization(nth: usize) -> KeyAuthorization {
    let token = format!("{nth:043}");
    let text = format!("{token}.{}", "x".repeat(43));
    KeyAuthorization::new(token.parse().unwrap(), &text).unwrap()
}

fn maps(answers: &[KeyAuthorization]) -> Vec<(&'static str, Box<dyn TokenMap>)> {
    let mut maps: Vec<(&'static str, Box<dyn TokenMap>)> = Vec::new();
    if answers.len() <= SHIPPED_UP_TO {
        maps.push(("shipped", Box::new(Shipped::holding(answers))));
    }
    maps.push(("arc-swap", Box::new(Swapped::holding(answers))));
    let papaya: papaya::HashMap<_, _> = answers.iter().map(entry).collect();
    maps.push(("papaya", Box::new(papaya)));
    let dashmap: DashMap<_, _> = answers.iter().map(entry).collect();
    maps.push(("DashMap", Box::new(dashmap)));
    maps
}

/// Runs `timed` while another thread writes as fast as it can.
fn beside_a_writer(map: &dyn TokenMap, timed: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let newcomer = key_authorization(usize::MAX);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                map.write(&newcomer);
            }
        });
        timed();
        stop.store(true, Ordering::Relaxed);
    });
}

fn token_map(criterion: &mut Criterion) {
    for size in SIZES {
        let answers: Vec<_> = (0..size).map(key_authorization).collect();
        let newcomer = key_authorization(usize::MAX);
        for (name, map) in maps(&answers) {
            let map = &*map;
            // A stride that is prime to every size: each token is asked for, none twice in a row.
            let mut nth = 0;
            let mut next = || {
                nth = (nth + 7_919) % size;
                answers[nth].token().as_str()
            };

            let id = BenchmarkId::new(name, size);
            let mut reads = criterion.benchmark_group("read");
            reads.bench_function(id, |bencher| bencher.iter(|| map.read(black_box(next()))));
            reads.finish();

            let id = BenchmarkId::new(name, size);
            let mut reads = criterion.benchmark_group("read beside a writer");
            beside_a_writer(map, || {
                reads.bench_function(id, |bencher| bencher.iter(|| map.read(black_box(next()))));
            });
            reads.finish();

            let id = BenchmarkId::new(name, size);
            let mut writes = criterion.benchmark_group("a token comes and goes");
            writes.bench_function(id, |bencher| bencher.iter(|| map.write(&newcomer)));
            writes.finish();
        }
    }
}

criterion_group! {
    name = benches;
    // 45 measurements within two minutes.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .sample_size(20)
        .without_plots();
    targets = token_map
}
criterion_main!(benches);
