//! A site with an open door, and a challenge that goes through the real nginx.

use sidedoor::nginx::obstacles::{Obstacle, Severity, obstacles};

use crate::private_nginx::Site;

/// A door as it is documented, and behind it something that answers.
pub(crate) const DOOR: &str = "rewrite ^(/\\.well-known/acme-challenge/.*) $1 break;\n\
    location ^~ /.well-known/acme-challenge/ {\n\
    allow all; auth_basic off; auth_request off;\n\
    proxy_pass http://unix:{root}/door.sock;\n}";

/// A site of these servers with an open door in `door/`.
pub(crate) fn site(servers: &str) -> Site {
    let responder = "server { listen unix:{root}/door.sock; return 200 door; }";
    Site::new(&format!("{responder}\n{servers}"))
        .with("door/00-sidedoor.conf", DOOR)
        .with("door/README", "")
        .with("wrong/x", "")
        .with("passwords", "")
}

pub(crate) fn found(site: &Site) -> Vec<Obstacle> {
    obstacles(
        &site.configuration(),
        &"a.x".parse().unwrap(),
        &site.path("door"),
    )
}

pub(crate) fn blocking(found: &[Obstacle]) -> Vec<&Obstacle> {
    found
        .iter()
        .filter(|obstacle| obstacle.severity == Severity::Blocks)
        .collect()
}

pub(crate) const CHALLENGE: &str =
    "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

/// Whether the challenge of `a.x` arrives at the door through nginx.
pub(crate) fn arrives(site: Site) -> bool {
    site.start().get("a.x", CHALLENGE) == (200, b"door".to_vec())
}
