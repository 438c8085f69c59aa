//! Binds what we listen on, each role in its own way.

use std::io;
use std::time::Duration;

use super::{Role, StartError};
use crate::address::Address;
use crate::admin::protocol::Bequest;
use crate::config::Config;
use crate::inherited::Inherited;
use crate::proxy::Listener;

/// How long a sidecar waits for an address that a lone command still holds.
const BIND_PATIENCE: Duration = Duration::from_secs(15);

/// What we listen on.
pub(super) struct Bound {
    pub(super) listeners: Vec<Listener>,
    /// Where doors lead.
    pub(super) doors_lead_to: Address,
}

/// What is there before we bind anything.
#[derive(Debug, Default)]
pub struct Origins {
    /// Sockets of whoever starts us.
    pub inherited: Inherited,
    /// What the sidecar leaves us whose place we take.
    pub bequest: Option<Bequest>,
}

impl Origins {
    /// The socket that is there already, or one beside that of the sidecar whose place we take, or one that nobody else has.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn listen(&mut self, address: &Address) -> io::Result<Listener> {
        if let Some(listener) = self.inherited.take_at(address) {
            return Ok(listener);
        }
        let is_left = |left: &Bequest| left.listening.contains(address);
        match self.bequest.as_ref().is_some_and(is_left) {
            true => Listener::bind_beside(address),
            false => Listener::bind(address),
        }
    }
}

pub(super) async fn bind(
    config: &Config,
    role: Role,
    origins: &mut Origins,
) -> Result<Bound, StartError> {
    match role {
        Role::Alone => bind_one(config),
        Role::Sidecar => bind_all(config, origins).await,
    }
}

fn failed(address: &Address) -> impl FnOnce(io::Error) -> StartError + use<> {
    let address = address.clone();
    move |source| StartError::Bind { address, source }
}

/// One is enough for what comes through doors, and nobody is told of it but by doors.
fn bind_one(config: &Config) -> Result<Bound, StartError> {
    let plain = config
        .listen
        .iter()
        .filter(|listen| !config.is_introduced(listen));
    let listener = plain
        .filter_map(|listen| Listener::bind(&listen.address).ok())
        .next();
    let listener = match listener {
        Some(listener) => listener,
        None => {
            let free = Address::Tcp(([127, 0, 0, 1], 0).into());
            let listener = Listener::bind(&free).map_err(failed(&free))?;
            tracing::debug!(address = %listener.address(), "the addresses of the configuration are taken; a free port serves");
            listener
        }
    };
    Ok(Bound {
        doors_lead_to: listener.address().reachable(),
        listeners: vec![listener],
    })
}

async fn bind_all(config: &Config, origins: &mut Origins) -> Result<Bound, StartError> {
    let mut listeners = Vec::new();
    for listen in &config.listen {
        let listener = bind_patiently(&listen.address, origins).await?;
        listeners.push(match config.is_introduced(listen) {
            true => listener.with_proxy_protocol(),
            false => listener,
        });
    }
    if let Some(address) = origins.inherited.unclaimed() {
        let address = address.clone();
        return Err(StartError::Unclaimed { address });
    }
    // Where every address asks for the PROXY protocol, the configuration has no door.
    let door = config.plain_listen().unwrap_or_default();
    Ok(Bound {
        doors_lead_to: listeners[door].address().reachable(),
        listeners,
    })
}

async fn bind_patiently(address: &Address, origins: &mut Origins) -> Result<Listener, StartError> {
    let start = tokio::time::Instant::now();
    loop {
        match origins.listen(address) {
            // A lone `sidedoor issue` may hold it for a few seconds.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < BIND_PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            bound => return bound.map_err(failed(address)),
        }
    }
}
