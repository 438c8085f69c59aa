use tokio::net::TcpListener;

use super::*;
use crate::nginx::loopback::{Identity, Loopback, Serving, ok};

const SOON: Patience = Patience::untouched(Duration::ZERO);

async fn tls_server(identities: &[&Identity]) -> Serving {
    let identities = identities.iter().copied().cloned().collect();
    Loopback::bind()
        .await
        .answers_over_tls(identities, |_| ok(""))
}

fn server(serving: &Serving) -> TlsServer {
    TlsServer {
        address: Address::Tcp(serving.address),
        proxy_protocol: false,
        name: "a.example".parse().unwrap(),
    }
}

#[tokio::test]
async fn the_expected_certificate_is_told_from_another() {
    let (ours, other) = (Identity::new("a.example"), Identity::new("a.example"));
    let nginx = tls_server(&[&ours]).await;
    let server = server(&nginx);
    assert_eq!(wait_for(&server, &ours.der, SOON).await, Served::Expected);
    assert_eq!(
        wait_for(&server, &other.der, SOON).await,
        Served::Other(ours.der.to_vec())
    );
}

#[tokio::test]
async fn waits_until_the_old_workers_are_gone() {
    let (old, new) = (Identity::new("a.example"), Identity::new("a.example"));
    let nginx = tls_server(&[&old, &old, &new, &old, &new]).await;
    let served = wait_for(&server(&nginx), &new.der, Patience::UNTOUCHED).await;
    assert_eq!(served, Served::Expected);
}

#[tokio::test]
async fn a_wildcard_and_an_address_are_asked_for_as_visitors_would() {
    let ours = Identity::new("a.example");
    for name in ["*.a.example", "127.0.0.1", "::1"] {
        let nginx = tls_server(&[&ours]).await;
        let server = TlsServer {
            name: name.parse().unwrap(),
            ..server(&nginx)
        };
        assert_eq!(
            wait_for(&server, &ours.der, SOON).await,
            Served::Expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn begins_with_a_proxy_protocol_header_where_the_listener_wants_one() {
    let ours = Identity::new("a.example");
    let nginx = tls_server(&[&ours]).await;
    let server = TlsServer {
        proxy_protocol: true,
        ..server(&nginx)
    };
    assert_eq!(wait_for(&server, &ours.der, SOON).await, Served::Expected);
    assert_eq!(nginx.heads()[0], "PROXY");
}

#[tokio::test]
async fn nobody_there_is_told_from_somebody_who_speaks_no_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = TlsServer {
        address: Address::Tcp(listener.local_addr().unwrap()),
        proxy_protocol: false,
        name: "a.example".parse().unwrap(),
    };
    let (served, ()) = tokio::join!(wait_for(&server, b"", SOON), async {
        drop(listener.accept().await);
    });
    assert!(matches!(served, Served::Failed(_)), "{served:?}");
    drop(listener);
    let served = wait_for(&server, b"", SOON).await;
    assert!(matches!(served, Served::Unreachable(_)), "{served:?}");
}
