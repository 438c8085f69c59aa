//! Workers are seen to retire when nginx has taken a new configuration, and not before.

use std::sync::Arc;
use std::time::Duration;

use sidedoor::config::Commands;
use sidedoor::nginx::control::{Control, Outcome};
use sidedoor::nginx::master::{Master, Worker};
use sidedoor::nginx::survey::Surveyor;

use crate::support::{Nginx, Server, eventually};

fn nginx() -> (Nginx, Commands) {
    let nginx = Nginx::serving([Server::of(&["shop.example"])]);
    let commands = Commands {
        test: nginx.test_command(),
        reload: nginx.reload_command(),
    };
    (nginx, commands)
}

fn master(commands: &Commands) -> Master {
    let surveyor = Arc::new(Surveyor::new(commands.test.clone()));
    Master::new(commands, surveyor)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_before_a_signalled_reload_retire_and_others_take_over() {
    let (nginx, commands) = nginx();
    let master = master(&commands);
    let (before, old) = (master.workers().await, nginx.workers());
    assert_eq!(before.len(), old.len());
    assert!(!before.iter().any(|worker| worker.has_retired()));
    assert!(master.reload().await, "signalled, not run as a command");
    let gone = |worker: &Worker| worker.has_retired();
    eventually("the old workers retire", Duration::from_secs(20), || {
        before.iter().all(gone).then_some(())
    });
    eventually("others have taken over", Duration::from_secs(20), || {
        let new = nginx.workers();
        (new.len() == old.len() && !new.iter().any(|pid| old.contains(pid))).then_some(())
    });
    let after = master.workers().await;
    assert_eq!(after.len(), old.len());
    assert!(!after.iter().any(|worker| before.contains(worker)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reloads_in_a_row_the_second_knows_the_workers_of_the_first() {
    let (nginx, commands) = nginx();
    let master = master(&commands);
    let lock = nginx.prefix().join("lock");
    let (control, serve) = Control::with_master(commands, Some(master), lock);
    let reload = async || match control.apply(Vec::new(), Box::new(|_| {})).await {
        Ok(Outcome::Reloaded { old_workers, .. }) => old_workers,
        other => panic!("{other:?}"),
    };
    let both = async { [reload().await, reload().await] };
    let [first, second] = tokio::select! {
        both = both => both,
        () = serve => unreachable!("it serves until it is told to finish"),
    };
    assert!(!first.is_empty() && !second.is_empty());
    // Those of the first may still be retiring.
    assert!(second.iter().any(|worker| !first.contains(worker)));
}
