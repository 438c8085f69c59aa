//! Asks nginx the same thing again and again until the answer is settled: good several times in a row, once the workers
//! that the last reload retires can no longer be the ones who answer: they are seen to go, or enough time has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::master::Worker;

/// nginx's master lets its old workers answer for 100 ms after it has started the new ones (measured, and in its source);
/// until then one good answer proves nothing.
const OLD_WORKERS_ANSWER: Duration = Duration::from_millis(110);
/// This many good answers in a row, each on a connection of its own, settle it.
const IN_A_ROW: u32 = 5;
/// One answer takes a few milliseconds; an nginx that needs longer than this is busy starting workers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A question to nginx.
pub trait Question: Sync {
    /// What is answered while the answer is not the one that is waited for.
    type Other: Send;

    /// Asks once, on a new connection.
    fn ask(&self) -> impl Future<Output = Result<(), Self::Other>> + Send;

    /// What to say when there is no answer for so long.
    fn no_answer(&self, limit: Duration) -> Self::Other;
}

/// What a settled answer has to wait for.
#[derive(Debug, Clone)]
pub struct Patience {
    /// When nginx was told to reload; nothing if it wasn't, and so no old workers are about.
    reloaded: Option<Instant>,
    /// How long it may take at most.
    limit: Duration,
    /// The workers that the reload retires, where they can be seen.
    old_workers: Option<Arc<[Worker]>>,
}

impl Patience {
    /// nginx was not told anything lately.
    pub const UNTOUCHED: Self = Self::untouched(Duration::from_secs(3));

    /// nginx was not told anything lately, and may take so long.
    pub const fn untouched(limit: Duration) -> Self {
        Self {
            reloaded: None,
            limit,
            old_workers: None,
        }
    }

    /// nginx was told to reload just now, and test and reload took so long. Its workers may take as long again: with
    /// 1,000 TLS hosts, new ones were there 3.7 s after a command of 1.7 s (measured).
    pub fn after_reload(took: Duration, old_workers: &[Worker]) -> Self {
        Self {
            reloaded: Some(Instant::now()),
            limit: Duration::from_secs(3) + 5 * took,
            old_workers: (!old_workers.is_empty()).then(|| old_workers.into()),
        }
    }

    /// Whether only new workers can have given an answer, the first good one of which came at `since`.
    fn only_new_workers_answer(&self, since: Instant) -> bool {
        let Some(reloaded) = self.reloaded else {
            return true;
        };
        match &self.old_workers {
            // On a busy machine they may well answer for longer than the master means them to.
            Some(workers) => {
                workers.iter().all(|worker| worker.has_retired())
                    || reloaded.elapsed() >= self.limit
            }
            None => since.elapsed() >= old_workers_answer(since - reloaded),
        }
    }
}

/// How it was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// How many answers were good.
    pub good: u32,
    /// How many were not, as from workers that were about to go.
    pub other: u32,
}

/// Asks until the answer is settled. If the time is over before that, returns the last answer that wasn't good.
pub async fn settle<Q: Question>(question: &Q, patience: Patience) -> Result<Settled, Q::Other> {
    let start = Instant::now();
    let mut settled = Settled { good: 0, other: 0 };
    let mut in_a_row = 0;
    let mut first_good = None;
    loop {
        let answer = match timeout(ANSWER_LIMIT, question.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(question.no_answer(ANSWER_LIMIT)),
        };
        let pause = match answer {
            Ok(()) => {
                settled.good += 1;
                let since = *first_good.get_or_insert_with(Instant::now);
                // What was answered while old workers were about is no news.
                let alone = patience.only_new_workers_answer(since);
                in_a_row = if alone { in_a_row + 1 } else { 0 };
                if in_a_row >= IN_A_ROW {
                    return Ok(settled);
                }
                match alone {
                    true => Duration::ZERO,
                    false => Duration::from_millis(4),
                }
            }
            Err(other) => {
                settled.other += 1;
                in_a_row = 0;
                if start.elapsed() >= patience.limit {
                    return Err(other);
                }
                // New workers mostly come within a tenth of a second, and are noticed at once; a big host is not pestered.
                let fitting = start.elapsed() / 20;
                fitting.clamp(Duration::from_millis(2), Duration::from_millis(100))
            }
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// How long old workers may still answer after the first answer of a new one. A big configuration starts slowly and
/// lets go slowly (0.9 s of 3.7 s with 1,000 TLS hosts, measured).
fn old_workers_answer(until_first_good: Duration) -> Duration {
    OLD_WORKERS_ANSWER
        .max(until_first_good / 2)
        .min(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::sync::Mutex;

    use super::*;

    /// Answers as a list says, then with its last entry for ever.
    struct Script(Mutex<Vec<Result<(), &'static str>>>);

    impl Script {
        fn of(answers: &[Result<(), &'static str>]) -> Self {
            Self(Mutex::new(answers.iter().rev().copied().collect()))
        }
    }

    impl Question for Script {
        type Other = &'static str;

        async fn ask(&self) -> Result<(), &'static str> {
            let mut answers = self.0.lock().unwrap();
            match answers.as_slice() {
                [last] => *last,
                _ => answers.pop().unwrap(),
            }
        }

        fn no_answer(&self, _limit: Duration) -> &'static str {
            "none"
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_reload_a_few_good_answers_settle_it_at_once() {
        let start = Instant::now();
        let settled = settle(&Script::of(&[Ok(())]), Patience::UNTOUCHED).await;
        assert_eq!(
            settled,
            Ok(Settled {
                good: IN_A_ROW,
                other: 0
            })
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_reload_nothing_is_settled_while_old_workers_may_answer() {
        let start = Instant::now();
        let answers = [
            Err("old"),
            Ok(()),
            Ok(()),
            Ok(()),
            Ok(()),
            Ok(()),
            Ok(()),
            Err("old"),
            Ok(()),
        ];
        let settled = settle(
            &Script::of(&answers),
            Patience::after_reload(Duration::ZERO, &[]),
        )
        .await
        .unwrap();
        assert_eq!(settled.other, 2);
        assert!(
            start.elapsed() >= OLD_WORKERS_ANSWER,
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_nginx_is_given_more_time_to_let_its_old_workers_go() {
        let slow = Duration::from_secs(2);
        let patience = Patience::after_reload(slow, &[]);
        sleep(slow).await;
        let start = Instant::now();
        settle(&Script::of(&[Ok(())]), patience).await.unwrap();
        assert!(start.elapsed() >= slow / 2, "{:?}", start.elapsed());
    }

    /// A process that looks like a worker.
    struct Pretender(std::process::Child);

    impl Pretender {
        fn new() -> Self {
            let mut sleep = std::process::Command::new("sleep");
            let sleep = sleep.arg0("nginx: worker process").arg("60");
            Self(sleep.spawn().unwrap())
        }

        fn worker(&self) -> Worker {
            Worker::of(self.0.id())
        }
    }

    impl Drop for Pretender {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_workers_that_are_seen_are_waited_for_until_they_go() {
        let pretender = Pretender::new();
        let worker = pretender.worker();
        while worker.has_retired() {
            // Not its own program yet.
            std::thread::yield_now();
        }
        let patience = Patience::after_reload(Duration::ZERO, &[worker]);
        let limit = patience.limit;
        let start = Instant::now();
        settle(&Script::of(&[Ok(())]), patience).await.unwrap();
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
        drop(pretender);
        let start = Instant::now();
        let patience = Patience::after_reload(Duration::ZERO, &[worker]);
        settle(&Script::of(&[Ok(())]), patience).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_with_the_last_answer() {
        let never = settle(&Script::of(&[Ok(()), Err("404")]), Patience::UNTOUCHED).await;
        assert_eq!(never, Err("404"));
    }
}
