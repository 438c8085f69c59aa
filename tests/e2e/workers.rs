//! Workers are seen to retire when nginx has taken a new configuration, and not before.

use std::sync::Arc;
use std::time::Duration;

use sidedoor::config::Commands;
use sidedoor::nginx::master::{Master, Worker};
use sidedoor::nginx::survey::Surveyor;

use crate::support::{Nginx, Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_before_a_signalled_reload_retire_and_others_take_over() {
    let nginx = Nginx::serving([Server::of(&["shop.example"])]);
    let commands = Commands {
        test: nginx.test_command(),
        reload: nginx.reload_command(),
    };
    let surveyor = Arc::new(Surveyor::new(commands.test.clone()));
    let master = Master::new(&commands, surveyor);
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
