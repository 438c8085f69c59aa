//! sidedoor in the ways in which it can be run.

use std::process::Command;

use crate::clients::Client;
use crate::support::{App, Nginx, Pebble, Running, Server, Sidedoor};

/// One sidedoor of its own: its state, its account, its app, its name.
struct Way {
    name: &'static str,
    label: &'static str,
    door: &'static str,
    sidecar: bool,
}

const WAYS: [Way; 4] = [
    Way {
        name: "sidedoor alone",
        label: "alone",
        door: "transient",
        sidecar: false,
    },
    Way {
        name: "sidedoor alone, permanent door",
        label: "alone-permanent",
        door: "permanent",
        sidecar: false,
    },
    Way {
        name: "sidedoor through its sidecar",
        label: "sidecar",
        door: "transient",
        sidecar: true,
    },
    Way {
        name: "sidedoor through its sidecar, permanent door",
        label: "sidecar-permanent",
        door: "permanent",
        sidecar: true,
    },
];

/// Every way, ready; nginx has their servers.
pub(crate) fn all(nginx: &mut Nginx, pebble: &Pebble) -> Vec<Client> {
    WAYS.iter().map(|way| client(way, nginx, pebble)).collect()
}

fn client(way: &Way, nginx: &mut Nginx, pebble: &Pebble) -> Client {
    let label = way.label;
    let domain = format!("{label}.example");
    let app = App::named(label);
    let lines = format!("door = {:?}", way.door);
    let sidedoor = Sidedoor::beside(nginx, pebble).app_with(label, &[&domain], &app, &lines);
    nginx.add(Server::of(&[&domain]).to(&app).with_door(label));
    nginx.reload();
    let sidecar = way.sidecar.then(|| sidedoor.run());
    sidedoor.call(["issue", label]).succeeded();
    let live = sidedoor.live(label);
    nginx.add(
        Server::of(&[&domain])
            .to(&app)
            .with_door(label)
            .over_tls(&live),
    );
    let kept = Kept {
        sidedoor,
        _sidecar: sidecar,
        _app: app,
    };
    Client {
        name: way.name,
        domain,
        port: nginx.tls_port(),
        ours: true,
        stays: false,
        before: Box::new(|| ()),
        command: Box::new(move || kept.command(&["renew", label, "--force", "-v"])),
    }
}

/// What has to live as long as the client.
struct Kept {
    sidedoor: Sidedoor,
    _sidecar: Option<Running>,
    _app: App,
}

impl Kept {
    fn command(&self, arguments: &[&str]) -> Command {
        self.sidedoor.command(arguments)
    }
}
