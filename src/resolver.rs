//! Whether names resolve yet, asked of name servers (RFC 1035). Advice: only what certainly has no address is said to have none.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::config::Resolver;
use crate::identifier::Identifier;
use crate::random;
use crate::schedule::Resolution;

/// How long a name server may take; it is asked twice.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// As many name servers as a system's own resolver asks.
const SERVERS: usize = 3;

/// Whether each of these has an address, as far as can be told. Wildcards and addresses need none.
pub async fn resolution(resolver: &Resolver, identifiers: &[Identifier]) -> Resolution {
    let servers = match resolver {
        Resolver::Servers(servers) => servers.clone(),
        Resolver::System => servers_of_the_system(),
    };
    let looks = identifiers.iter().map(|identifier| {
        let servers = &servers;
        async move {
            is_absent(identifier, servers)
                .await
                .then(|| identifier.clone())
        }
        .boxed()
    });
    let absent: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
    match absent.is_empty() {
        true => Resolution::Go,
        false => Resolution::NotYet(absent),
    }
}

/// As `/etc/resolv.conf` names them.
fn servers_of_the_system() -> Vec<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let ip: IpAddr = line.strip_prefix("nameserver")?.trim().parse().ok()?;
        Some(SocketAddr::from((ip, 53)))
    });
    servers.take(SERVERS).collect()
}

/// Whether the first name server that knows says that there is no address.
async fn is_absent(identifier: &Identifier, servers: &[SocketAddr]) -> bool {
    let Identifier::Dns(name) = identifier else {
        return false;
    };
    if identifier.needs_dns() {
        return false;
    }
    for server in servers {
        let (v4, v6) = tokio::join!(
            ask(*server, name.as_str(), TYPE::A),
            ask(*server, name.as_str(), TYPE::AAAA)
        );
        match (v4, v6) {
            (Some(Told::Address), _) | (_, Some(Told::Address)) => return false,
            (Some(Told::Nothing), Some(Told::Nothing)) => return true,
            _ => {}
        }
    }
    false
}

/// What a name server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// There is one.
    Address,
    /// There is none.
    Nothing,
}

/// Asks one question; nothing where the name server doesn't know or doesn't say.
async fn ask(server: SocketAddr, name: &str, kind: TYPE) -> Option<Told> {
    let id = (random::number() >> 48) as u16;
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    query.questions.push(Question::new(
        Name::new(name).ok()?,
        kind.into(),
        CLASS::IN.into(),
        false,
    ));
    let query = query.build_bytes_vec().ok()?;
    for _ in 0..TRIES {
        if let Ok(Some(answer)) = timeout(ANSWER_LIMIT, exchange(server, &query)).await {
            return read(&answer, id, kind);
        }
    }
    None
}

async fn exchange(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let any: SocketAddr = match server.is_ipv4() {
        true => (Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    // From now on nobody else is heard.
    socket.connect(server).await.ok()?;
    socket.send(query).await.ok()?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await.ok()?;
    answer.truncate(length);
    Some(answer)
}

fn read(answer: &[u8], id: u16, kind: TYPE) -> Option<Told> {
    let answer = Packet::parse(answer).ok()?;
    if answer.id() != id || !answer.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let has_address = answer
        .answers
        .iter()
        .any(|record| record.rdata.type_code() == kind);
    match answer.rcode() {
        RCODE::NoError if has_address => Some(Told::Address),
        // What was cut off may have been it.
        RCODE::NoError if !answer.has_flags(PacketFlag::TRUNCATION) => Some(Told::Nothing),
        RCODE::NameError => Some(Told::Nothing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use simple_dns::rdata::{A, AAAA, RData};
    use simple_dns::{QTYPE, ResourceRecord};

    use super::*;

    /// What a name server of a test's own says of a name.
    #[derive(Clone, Copy)]
    enum Says {
        V4,
        V6,
        Empty,
        Fails,
        Silent,
    }

    /// Answers until the test's runtime ends; of what it doesn't know, that there is no such name.
    async fn name_server(names: &[(&'static str, Says)]) -> SocketAddr {
        let names: HashMap<_, _> = names.iter().copied().collect();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Packet::parse(&buffer[..length]).unwrap();
                let question = &query.questions[0];
                let (name, asked) = (question.qname.to_string(), question.qtype);
                let mut answer = Packet::new_reply(query.id());
                let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 1, data);
                match (names.get(name.as_str()), asked) {
                    (Some(Says::V4), QTYPE::TYPE(TYPE::A)) => {
                        answer.answers.push(record(RData::A(A { address: 1 })))
                    }
                    (Some(Says::V6), QTYPE::TYPE(TYPE::AAAA)) => answer
                        .answers
                        .push(record(RData::AAAA(AAAA { address: 1 }))),
                    (Some(Says::V4 | Says::V6 | Says::Empty), _) => {}
                    (Some(Says::Fails), _) => *answer.rcode_mut() = RCODE::ServerFailure,
                    (Some(Says::Silent), _) => continue,
                    (None, _) => *answer.rcode_mut() = RCODE::NameError,
                }
                let answer = answer.build_bytes_vec().unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    fn names(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn only_names_without_any_address_are_waited_for() {
        let server = name_server(&[
            ("four.example", Says::V4),
            ("six.example", Says::V6),
            ("empty.example", Says::Empty),
        ])
        .await;
        let resolver = Resolver::Servers(vec![server]);
        let all = names(&[
            "four.example",
            "six.example",
            "empty.example",
            "missing.example",
            "192.0.2.1",
        ]);
        assert_eq!(
            resolution(&resolver, &all).await,
            Resolution::NotYet(names(&["empty.example", "missing.example"]))
        );
        assert_eq!(resolution(&resolver, &all[..2]).await, Resolution::Go);
    }

    #[tokio::test]
    async fn who_cannot_be_asked_stands_in_nobody_s_way() {
        let failing = name_server(&[("a.example", Says::Fails)]).await;
        let nobody = Resolver::Servers(Vec::new());
        for resolver in [Resolver::Servers(vec![failing]), nobody] {
            let told = resolution(&resolver, &names(&["a.example"])).await;
            assert_eq!(told, Resolution::Go);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_is_asked_where_one_is_silent_or_fails() {
        let silent = name_server(&[("b.example", Says::Silent)]).await;
        let failing = name_server(&[("b.example", Says::Fails)]).await;
        let knowing = name_server(&[]).await;
        let resolver = Resolver::Servers(vec![silent, failing, knowing]);
        assert_eq!(
            resolution(&resolver, &names(&["b.example"])).await,
            Resolution::NotYet(names(&["b.example"]))
        );
    }
}
