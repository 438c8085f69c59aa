use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use futures_util::future::join_all;

use super::*;
use crate::files::Entry;
use crate::nginx::fake::{FakeNginx, apply};

fn file(text: &str) -> Entry {
    Entry::File(text.as_bytes().to_vec(), 0o644)
}

fn is_reloaded(result: &Result<Outcome, ControlError>) -> bool {
    matches!(result, Ok(Outcome::Reloaded { .. }))
}

#[tokio::test]
async fn many_requests_at_once_share_one_test_and_one_reload() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let asked = (0..50).map(|n| {
        let path = nginx.conf(&format!("{n}/door.conf"));
        apply(&control, vec![Change::place(path, file("door"))])
    });
    assert!(join_all(asked).await.iter().all(is_reloaded));
    assert_eq!(nginx.calls(), (1, 1));
}

#[tokio::test]
async fn who_asks_while_a_reload_runs_shares_the_next() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let place = |name: &str| vec![Change::place(nginx.conf(name), file("door"))];
    nginx.will_wait_in("reload");
    let first = apply(&control, place("first.conf"));
    let waiting = nginx.waits_in("reload").await;
    let second = apply(&control, place("second.conf"));
    let third = apply(&control, place("third.conf"));
    assert!(
        !nginx.conf("second.conf").exists(),
        "nothing changes under a reload"
    );
    drop(waiting);
    for result in [first.await, second.await, third.await] {
        assert!(is_reloaded(&result), "{result:?}");
    }
    assert_eq!(nginx.calls(), (2, 2));
}

#[tokio::test]
async fn the_one_that_nginx_blames_is_taken_back_alone() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let place = |name: &str, text| vec![Change::place(nginx.conf(name), file(text))];
    let (one, bad, other) = tokio::join!(
        apply(&control, place("one.conf", "door")),
        apply(&control, place("wrong.conf", "bad")),
        apply(&control, place("other.conf", "door")),
    );
    assert!(is_reloaded(&one) && is_reloaded(&other));
    match bad {
        Err(ControlError::Refused { path, words }) => {
            assert_eq!(path, nginx.conf("wrong.conf"));
            assert!(words.contains("unknown directive \"bad\""), "{words}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!nginx.conf("wrong.conf").exists());
    assert!(nginx.conf("one.conf").exists() && nginx.conf("other.conf").exists());
    assert_eq!(nginx.calls(), (2, 1));
}

#[tokio::test]
async fn a_reason_that_is_not_ours_takes_everything_back_and_asks_nobody_again() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    nginx.fails_in(
        "test",
        "nginx: [emerg] unexpected \"}\" in /etc/nginx/own.conf:7",
    );
    let asked = ["one.conf", "two.conf"].map(|name| {
        apply(
            &control,
            vec![Change::place(nginx.conf(name), file("door"))],
        )
    });
    for result in join_all(asked).await {
        let error = result.unwrap_err();
        assert!(
            matches!(error, ControlError::BrokenElsewhere { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("/etc/nginx/own.conf:7"),
            "{error}"
        );
    }
    assert!(!nginx.conf("one.conf").exists() && !nginx.conf("two.conf").exists());
    assert_eq!(nginx.calls(), (1, 0));
}

#[tokio::test]
async fn what_was_taken_away_stays_away_although_nginx_refuses() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    fs::write(nginx.conf("old.conf"), "door").unwrap();
    nginx.fails_in(
        "test",
        "nginx: [emerg] unexpected \"}\" in /etc/nginx/own.conf:7",
    );
    let gone = apply(&control, vec![Change::remove(nginx.conf("old.conf"))]).await;
    match gone {
        Ok(Outcome::GoneButNotReloaded(reason)) => assert!(reason.contains("own.conf"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!nginx.conf("old.conf").exists());
}

#[tokio::test]
async fn a_change_that_fails_does_not_bring_back_what_a_later_request_took_away() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let path = nginx.conf("door.conf");
    fs::write(&path, "left by a crash").unwrap();
    nginx.fails_in(
        "test",
        "nginx: [emerg] unexpected \"}\" in /etc/nginx/own.conf:7",
    );
    let (placed, removed) = tokio::join!(
        apply(&control, vec![Change::place(&path, file("door"))]),
        apply(&control, vec![Change::remove(&path)]),
    );
    assert!(placed.is_err());
    assert!(
        matches!(removed, Ok(Outcome::GoneButNotReloaded(_))),
        "{removed:?}"
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn two_changes_of_one_path_are_taken_back_to_what_was_before_both() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let path = nginx.conf("door.conf");
    fs::write(&path, "before").unwrap();
    let (one, other) = tokio::join!(
        apply(&control, vec![Change::place(&path, file("bad one"))]),
        apply(&control, vec![Change::place(&path, file("bad other"))]),
    );
    assert!(one.is_err() && other.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
}

#[tokio::test]
async fn what_stands_so_already_reloads_nothing() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let place = || vec![Change::place(nginx.conf("door.conf"), file("door"))];
    assert!(is_reloaded(&apply(&control, place()).await));
    assert_eq!(apply(&control, place()).await.unwrap(), Outcome::Unchanged);
    assert_eq!(nginx.calls(), (1, 1));
    assert!(
        is_reloaded(&apply(&control, Vec::new()).await),
        "nothing but a reload"
    );
    assert_eq!(nginx.calls(), (2, 2));
}

#[tokio::test]
async fn a_reload_that_fails_puts_everything_back_to_the_byte_and_the_mode() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let (old, link, new) = (
        nginx.conf("old.conf"),
        nginx.conf("link"),
        nginx.conf("new.conf"),
    );
    let bytes = b"# \xff as it was\r\n";
    fs::write(&old, bytes).unwrap();
    fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    nginx.fails_in(
        "reload",
        "nginx: [error] invalid PID number \"\" in \"/run/nginx.pid\"",
    );
    let result = apply(
        &control,
        vec![
            Change::place(&old, file("door")),
            Change::place(&link, Entry::Link("other".into())),
            Change::place(&new, file("door")),
        ],
    )
    .await;
    match result {
        Err(ControlError::NotRun {
            verb: "reloaded",
            words,
        }) => {
            assert!(words.contains("invalid PID"), "{words}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&old).unwrap(), bytes);
    assert_eq!(
        fs::metadata(&old).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("elsewhere"));
    assert!(!new.exists());
}

/// Not even root can make a directory where a file is.
fn unwritable(nginx: &FakeNginx) -> PathBuf {
    fs::write(nginx.conf("a-file"), "").unwrap();
    nginx.conf("a-file/door.conf")
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_fails_alone() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let (good, bad) = (nginx.conf("good.conf"), unwritable(&nginx));
    let (placed, refused) = tokio::join!(
        apply(&control, vec![Change::place(&good, file("door"))]),
        apply(
            &control,
            vec![
                Change::place(nginx.conf("half.conf"), file("door")),
                Change::place(&bad, file("door"))
            ]
        ),
    );
    assert!(is_reloaded(&placed), "{placed:?}");
    match refused {
        Err(ControlError::Unwritable { path, .. }) => assert_eq!(path, bad),
        other => panic!("{other:?}"),
    }
    assert!(!nginx.conf("half.conf").exists(), "all or nothing");
}

#[tokio::test]
async fn what_can_not_be_taken_away_is_not_said_to_be_gone() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    fs::write(nginx.conf("first.conf"), "door").unwrap();
    // A directory is nothing that can be taken away.
    fs::create_dir(nginx.conf("second.conf")).unwrap();
    let result = apply(
        &control,
        vec![
            Change::remove(nginx.conf("first.conf")),
            Change::remove(nginx.conf("second.conf")),
        ],
    )
    .await;
    assert!(
        matches!(result, Err(ControlError::Unwritable { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn whoever_goes_away_is_served_all_the_same() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let path = nginx.conf("door.conf");
    drop(apply(&control, vec![Change::place(&path, file("door"))]));
    assert!(is_reloaded(&apply(&control, Vec::new()).await));
    assert!(path.exists());
    assert_eq!(nginx.calls(), (1, 1));
}

#[tokio::test]
async fn two_processes_take_turns_and_who_asks_meanwhile_shares_the_turn() {
    let nginx = FakeNginx::new();
    let (one, other) = (nginx.control(), nginx.control());
    let place = |name: &str| vec![Change::place(nginx.conf(name), file("door"))];
    nginx.will_wait_in("test");
    let first = apply(&one, place("one.conf"));
    let waiting = nginx.waits_in("test").await;
    let second = apply(&other, place("two.conf"));
    // The control sleeps for less than this before it waits for its turn.
    sleep(GATHER * 2).await;
    let third = apply(&other, place("three.conf"));
    assert!(!nginx.conf("two.conf").exists(), "it is not its turn");
    drop(waiting);
    for result in [first.await, second.await, third.await] {
        assert!(is_reloaded(&result), "{result:?}");
    }
    assert_eq!(nginx.calls(), (2, 2));
}

#[tokio::test]
async fn after_the_end_what_was_asked_before_is_done_and_what_comes_later_fails() {
    let nginx = FakeNginx::new();
    let (control, serve) = Control::new(nginx.commands(), nginx.lock());
    let place = |name: &str| vec![Change::place(nginx.conf(name), file("door"))];
    let before = apply(&control, place("before.conf"));
    control.finish();
    let after = apply(&control, place("after.conf"));
    serve.await;
    assert!(is_reloaded(&before.await));
    assert!(matches!(after.await, Err(ControlError::Stopping)));
    let later = apply(&control, place("later.conf")).await;
    assert!(matches!(later, Err(ControlError::Stopping)));
    assert!(nginx.conf("before.conf").exists() && !nginx.conf("after.conf").exists());
}

#[tokio::test]
async fn tells_how_far_a_request_has_come() {
    let nginx = FakeNginx::new();
    let control = nginx.control();
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = Box::new(move |stage| told.send(stage).unwrap());
    let change = Change::place(nginx.conf("door.conf"), file("door"));
    control.apply(vec![change], listener).await.unwrap();
    let mut stages = Vec::new();
    heard.recv_many(&mut stages, 9).await;
    assert_eq!(stages, [Stage::Written, Stage::Tested, Stage::Reloaded]);
}

#[tokio::test]
async fn a_command_that_is_missing_is_named_and_changes_nothing() {
    let nginx = FakeNginx::new();
    let mut commands = nginx.commands();
    commands.test = vec!["/nonexistent/nginx".into(), "-t".into()];
    let (control, serve) = Control::new(commands, nginx.lock());
    let asked = apply(
        &control,
        vec![Change::place(nginx.conf("door.conf"), file("door"))],
    );
    control.finish();
    let ((), result) = tokio::join!(serve, asked);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/nginx"), "{error}");
    assert!(!nginx.conf("door.conf").exists());
}
