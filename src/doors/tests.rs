use std::fs;

use super::*;
use crate::files;
use crate::nginx::fake::FakeNginx;
use crate::nginx::loopback::{Loopback, ok};

const LEASE: Duration = Duration::from_secs(60);
const BROKEN: &str = "nginx: [emerg] unexpected \"}\" in /etc/nginx/own.conf:7";

/// Doors beside a pretended nginx.
struct House {
    nginx: FakeNginx,
    store: Store,
    challenges: Arc<Challenges>,
    control: Arc<Control>,
    state: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let nginx = FakeNginx::new();
        let state = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(state.path()).unwrap(),
            challenges: Arc::default(),
            control: nginx.control(),
            nginx,
            state,
        }
    }

    /// As one process has them; each call is another process.
    fn doors(&self) -> Doors {
        Doors::new(
            self.store.clone(),
            Arc::clone(&self.control),
            Arc::clone(&self.challenges),
            Arc::new(Surveyor::new(self.nginx.commands().test)),
            "127.0.0.1:8888".parse().unwrap(),
        )
    }

    /// An app for each name, with its own directory; `lines` goes into each.
    fn config(&self, apps: &[&str], lines: &str) -> Config {
        let tables = apps.iter().map(|app| {
            let directory = self.nginx.conf(app);
            format!("[[app]]\nname = {app:?}\ndomains = [\"{app}.example\"]\ninclude_dir = {directory:?}\n{lines}\n")
        });
        let text = tables.collect::<String>();
        Config::parse(&self.nginx.conf("sidedoor.toml"), &text).unwrap()
    }

    fn door(&self, app: &str) -> PathBuf {
        self.nginx.conf(app).join(DOOR_FILE)
    }

    /// What a process leaves that was killed.
    fn left_behind(&self, app: &str) {
        fs::create_dir_all(self.nginx.conf(app)).unwrap();
        fs::write(self.door(app), "a door").unwrap();
        self.leased(app);
    }

    fn leased(&self, app: &str) {
        let lease = Lease {
            path: self.door(app),
            process: 1,
            opened: OffsetDateTime::UNIX_EPOCH,
            until: None,
        };
        self.store.save_lease(&name(app), &lease).unwrap();
    }

    fn is_locked(&self, app: &str) -> bool {
        let lock = Lock::try_take(&self.store.door_lock(&name(app))).unwrap();
        lock.is_none()
    }
}

fn name(app: &str) -> AppName {
    app.parse().unwrap()
}

fn quiet() -> Progress {
    Progress::new(name("shop"), Arc::new(|_| {}))
}

async fn open(doors: &Doors, config: &Config) -> Result<Arc<OpenDoor>, DoorError> {
    doors
        .open(config, &config.apps[0], LEASE, &Seat::alone(), &quiet())
        .await
}

#[tokio::test]
async fn a_door_stands_with_lease_and_lock_until_it_is_closed() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    let door = open(&doors, &config).await.unwrap();
    assert!(house.door("shop").exists() && house.is_locked("shop"));
    assert!(house.store.lease(&name("shop")).unwrap().is_some());
    assert!(door.close().await.unwrap());
    assert!(!house.door("shop").exists() && !house.is_locked("shop"));
    assert_eq!(house.store.lease(&name("shop")).unwrap(), None);
    assert_eq!(house.nginx.calls(), (2, 2));
}

#[tokio::test]
async fn who_comes_to_an_open_door_joins_and_the_last_one_closes_it() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    let (one, other) = tokio::join!(open(&doors, &config), open(&doors, &config));
    assert!(!one.unwrap().close().await.unwrap());
    assert!(house.door("shop").exists());
    assert!(other.unwrap().close().await.unwrap());
    assert!(!house.door("shop").exists());
    assert_eq!(house.nginx.calls(), (2, 2));
}

#[tokio::test]
async fn whoever_is_cut_short_while_opening_leaves_no_door() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    house.nginx.will_wait_in("test");
    let waiting = tokio::select! {
        biased;
        _ = open(&doors, &config) => unreachable!("nginx waits"),
        waiting = house.nginx.waits_in("test") => waiting,
    };
    assert!(house.door("shop").exists());
    assert!(
        house.is_locked("shop"),
        "nobody else opens what is yet to be closed"
    );
    drop(waiting);
    let again = open(&doors, &config).await.unwrap();
    assert!(again.close().await.unwrap());
    assert!(!house.door("shop").exists());
    assert_eq!(house.store.lease(&name("shop")).unwrap(), None);
}

#[tokio::test]
async fn a_door_that_nginx_refuses_leaves_everything_as_it_was() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    house.nginx.fails_in("test", BROKEN);
    let error = open(&doors, &config).await.err().unwrap();
    assert!(error.to_string().contains("own.conf:7"), "{error}");
    assert!(!house.door("shop").exists() && !house.is_locked("shop"));
    assert_eq!(house.store.lease(&name("shop")).unwrap(), None);
}

#[tokio::test]
async fn a_door_that_could_not_be_told_of_is_not_said_to_be_closed() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    let door = open(&doors, &config).await.unwrap();
    house.nginx.fails_in("test", BROKEN);
    let error = door.close().await.unwrap_err();
    assert!(matches!(error, DoorError::NotTold { .. }), "{error}");
    assert!(error.next_step(&config).contains("sidedoor close shop"));
    assert!(!house.door("shop").exists());
    house.nginx.is_well_in("test");
    let swept = doors.sweep(&config, Unwanted::None).await.unwrap();
    assert_eq!(
        swept.closed,
        [name("shop")],
        "its lease has kept it in mind"
    );
}

#[tokio::test]
async fn a_door_is_proven_by_what_comes_back_through_nginx() {
    let house = House::new();
    let doors = house.doors();
    let challenges = Arc::clone(&house.challenges);
    let nginx = Loopback::bind().await.answers(move |head| {
        let path = head.split(' ').nth(1).unwrap();
        let answer = crate::challenge::token_in(path).and_then(|token| challenges.answer(token));
        ok(&String::from_utf8_lossy(&answer.unwrap().body()))
    });
    let mut config = house.config(&["shop"], "");
    config.nginx.probe = Some(vec![Address::Tcp(nginx.address)]);
    let door = open(&doors, &config).await.unwrap();
    let names = &config.apps[0].domains;
    doors.prove(&config, &door, names, &quiet()).await.unwrap();
    assert!(
        house.challenges.tokens().is_empty(),
        "the probe's token is no longer answered"
    );
}

#[tokio::test]
async fn a_door_that_can_not_be_asked_says_how_to_do_without() {
    let house = House::new();
    let doors = house.doors();
    let mut config = house.config(&["shop"], "");
    let free = Loopback::bind().await.port();
    config.nginx.probe = Some(vec![Address::Tcp(([127, 0, 0, 1], free).into())]);
    let door = open(&doors, &config).await.unwrap();
    let names = &config.apps[0].domains;
    let error = doors
        .prove(&config, &door, names, &quiet())
        .await
        .unwrap_err();
    assert!(error.next_step(&config).contains("nginx.probe"), "{error}");
}

#[tokio::test]
async fn what_crashes_have_left_is_closed_by_one_reload() {
    let house = House::new();
    let config = house.config(&["shop"], "");
    house.left_behind("shop");
    house.left_behind("no-longer-an-app");
    house.leased("gone-from-disk");
    let swept = house.doors().sweep(&config, Unwanted::None).await.unwrap();
    assert_eq!(
        swept.closed,
        ["gone-from-disk", "no-longer-an-app", "shop"].map(name)
    );
    assert!(!house.door("shop").exists() && !house.door("no-longer-an-app").exists());
    assert_eq!(house.store.leased().unwrap(), []);
    assert_eq!(house.nginx.calls(), (1, 1));
    let swept = house.doors().sweep(&config, Unwanted::None).await.unwrap();
    assert!(swept.closed.is_empty() && swept.failed.is_empty());
    assert_eq!(
        house.nginx.calls(),
        (1, 1),
        "nothing left, nothing reloaded"
    );
}

#[tokio::test]
async fn a_door_without_a_lease_is_found_where_the_app_has_its_doors() {
    let house = House::new();
    let config = house.config(&["shop"], "");
    house.left_behind("shop");
    house.store.forget_lease(&name("shop")).unwrap();
    fs::write(files::temporary(&house.door("shop")), "half").unwrap();
    let swept = house.doors().sweep(&config, Unwanted::None).await.unwrap();
    assert_eq!(swept.closed, [name("shop")]);
    assert_eq!(fs::read_dir(house.nginx.conf("shop")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_lease_that_can_not_be_read_is_set_aside_and_its_door_closed() {
    let house = House::new();
    let config = house.config(&["shop", "wiki"], "");
    house.left_behind("shop");
    house.left_behind("wiki");
    fs::write(house.state.path().join("doors/shop.json"), "{").unwrap();
    let swept = house.doors().sweep(&config, Unwanted::None).await.unwrap();
    assert_eq!(swept.closed, ["shop", "wiki"].map(name));
    assert!(
        house
            .state
            .path()
            .join("doors/shop.json.unreadable")
            .exists()
    );
}

#[tokio::test]
async fn a_door_that_a_living_process_holds_is_let_be() {
    let house = House::new();
    let config = house.config(&["shop"], "");
    let door = open(&house.doors(), &config).await.unwrap();
    let swept = house.doors().sweep(&config, Unwanted::All).await.unwrap();
    assert!(swept.closed.is_empty() && swept.failed.is_empty());
    assert!(house.door("shop").exists());
    drop(door);
}

#[tokio::test]
async fn a_permanent_door_stays_unless_it_is_unwanted_or_elsewhere() {
    let house = House::new();
    let config = house.config(&["shop"], "door = \"permanent\"");
    house.left_behind("shop");
    let sweep =
        async |unwanted: Unwanted<'_>| house.doors().sweep(&config, unwanted).await.unwrap().closed;
    assert_eq!(sweep(Unwanted::None).await, []);
    assert_eq!(sweep(Unwanted::One(&name("wiki"))).await, []);
    assert!(house.door("shop").exists());
    assert_eq!(sweep(Unwanted::One(&name("shop"))).await, [name("shop")]);
    assert!(!house.door("shop").exists());
    house.left_behind("old-place");
    fs::rename(
        house.state.path().join("doors/old-place.json"),
        house.state.path().join("doors/shop.json"),
    )
    .unwrap();
    assert_eq!(sweep(Unwanted::None).await, [name("shop")]);
    assert!(!house.door("old-place").exists());
}

#[tokio::test]
async fn a_door_that_can_not_be_closed_keeps_no_other_open() {
    let house = House::new();
    let config = house.config(&["shop", "wiki"], "");
    house.left_behind("wiki");
    // What is no file can't be removed as one.
    house.leased("shop");
    fs::create_dir_all(house.door("shop")).unwrap();
    let swept = house.doors().sweep(&config, Unwanted::None).await.unwrap();
    assert_eq!(swept.closed, [name("wiki")]);
    let [(app, error)] = &swept.failed[..] else {
        panic!("{swept:?}")
    };
    assert_eq!(*app, name("shop"));
    assert!(error.to_string().contains("conf/shop"), "{error}");
    assert_eq!(house.nginx.calls(), (1, 1));
}

#[tokio::test]
async fn a_sweep_that_is_cut_short_keeps_its_locks_until_nginx_has_been_told() {
    let house = House::new();
    let (doors, config) = (house.doors(), house.config(&["shop"], ""));
    house.left_behind("shop");
    house.nginx.will_wait_in("test");
    let waiting = tokio::select! {
        biased;
        _ = doors.sweep(&config, Unwanted::None) => unreachable!("nginx waits"),
        waiting = house.nginx.waits_in("test") => waiting,
    };
    assert!(house.is_locked("shop"));
    drop(waiting);
    let opened = open(&doors, &config).await.unwrap();
    assert!(house.door("shop").exists());
    drop(opened);
}
