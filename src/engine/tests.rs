use std::path::Path;

use super::*;
use crate::nginx::fake::FakeNginx;
use crate::nginx::site::DOOR_FILE;

/// Apps with permanent doors, each in a directory of its name.
fn config(nginx: &FakeNginx, apps: &[(&str, &str)]) -> Config {
    let commands = nginx.commands();
    let mut text = format!(
        "state_dir = {:?}\nlisten = [\"127.0.0.1:0\"]\n[nginx]\ntest = {:?}\nreload = {:?}\n",
        nginx.conf("state"),
        commands.test,
        commands.reload
    );
    for (app, directory) in apps {
        let directory = nginx.conf(directory);
        text += &format!(
            "[[app]]\nname = {app:?}\ndomains = [\"{app}.example\"]\ninclude_dir = {directory:?}\ndoor = \"permanent\"\n"
        );
    }
    Config::parse(Path::new("/sidedoor.toml"), &text).unwrap()
}

fn stands(nginx: &FakeNginx, directory: &str) -> bool {
    nginx.conf(directory).join(DOOR_FILE).exists()
}

#[tokio::test]
async fn all_permanent_doors_open_by_one_reload_and_stay() {
    let nginx = FakeNginx::new();
    let apps = [("shop", "shop"), ("wiki", "wiki"), ("mail", "mail")];
    let engine = Engine::start(config(&nginx, &apps), Role::Alone)
        .await
        .unwrap();
    engine.settle().await;
    assert_eq!(nginx.calls(), (1, 1));
    engine.stop().await;
    assert!(apps.iter().all(|(_, directory)| stands(&nginx, directory)));
}

#[tokio::test]
async fn a_permanent_door_moves_with_its_directory() {
    let nginx = FakeNginx::new();
    let engine = Engine::start(config(&nginx, &[("shop", "old")]), Role::Alone)
        .await
        .unwrap();
    engine.settle().await;
    assert!(stands(&nginx, "old"));
    engine
        .reconfigure(config(&nginx, &[("shop", "new")]))
        .unwrap();
    engine.settle().await;
    assert!(stands(&nginx, "new") && !stands(&nginx, "old"));
    engine.reconfigure(config(&nginx, &[])).unwrap();
    engine.settle().await;
    assert!(!stands(&nginx, "new"), "nobody wants it any more");
    engine.stop().await;
}
