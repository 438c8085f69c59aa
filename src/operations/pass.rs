//! A pass over several certificates: whoever listens hears which one each note is about, and how far all of them are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Listener;
use crate::identifier::AppName;
use crate::issuance::IssueError;
use crate::progress::{Among, Note};

/// Counts how they end.
#[derive(Debug)]
pub(super) struct Pass {
    all: usize,
    done: AtomicUsize,
    failed: AtomicUsize,
    waiting: AtomicUsize,
}

/// How one of them has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is there.
    Done,
    /// It is not.
    Failed,
    /// It is too early to try.
    Waiting,
}

impl Ended {
    pub(super) fn of<T>(issued: &Result<T, IssueError>) -> Self {
        match issued {
            Ok(_) => Self::Done,
            Err(error) if error.is_too_early() => Self::Waiting,
            Err(_) => Self::Failed,
        }
    }
}

impl Pass {
    pub(super) fn over(all: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            done: AtomicUsize::default(),
            failed: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
        })
    }

    pub(super) fn count(&self, ended: Ended) {
        let counter = match ended {
            Ended::Done => &self.done,
            Ended::Failed => &self.failed,
            Ended::Waiting => &self.waiting,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Who hears of this certificate. The only one needs no name.
    pub(super) fn listener(self: &Arc<Self>, name: &AppName, listener: &Listener) -> Listener {
        let listener = Arc::clone(listener);
        if self.all < 2 {
            return listener;
        }
        let (pass, name) = (Arc::clone(self), name.clone());
        Arc::new(move |mut note| {
            let (Note::Step { among, .. } | Note::Notice { among, .. }) = &mut note;
            *among = Some(pass.among(&name));
            listener(note);
        })
    }

    fn among(&self, name: &AppName) -> Among {
        Among {
            certificate: name.clone(),
            all: self.all,
            done: self.done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::progress::Progress;

    /// What is heard of `shop` in a pass over so many, once one has ended in each way.
    fn heard(all: usize) -> Vec<Note> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        let listener: Listener = Arc::new(move |note| notes.lock().unwrap().push(note));
        let shop: AppName = "shop".parse().unwrap();
        let pass = Pass::over(all);
        let progress = Progress::new(shop.clone(), pass.listener(&shop, &listener));
        for ended in [Ended::Done, Ended::Failed, Ended::Waiting] {
            pass.count(ended);
        }
        progress.notice("something");
        heard.lock().unwrap().clone()
    }

    #[test]
    fn of_several_it_is_told_which_and_how_far_all_are() {
        let expected = Among {
            certificate: "shop".parse().unwrap(),
            all: 5,
            done: 1,
            failed: 1,
            waiting: 1,
        };
        let note = |among| Note::Notice {
            text: "something".into(),
            among,
        };
        assert_eq!(heard(5), [note(Some(expected))]);
        assert_eq!(heard(1), [note(None)]);
    }

    #[test]
    fn notes_that_tell_nothing_of_others_are_understood_and_sent_as_before() {
        let before = r#"{"kind":"step","step":"begun","detail":"","elapsed_ms":1}"#;
        let note: Note = serde_json::from_str(before).unwrap();
        assert_eq!(serde_json::to_string(&note).unwrap(), before);
    }
}
