//! Binds what we listen on, each role in its own way.

use std::io;
use std::time::Duration;

use super::{Role, StartError};
use crate::address::Address;
use crate::config::Config;
use crate::proxy::Listener;
use crate::serving;

/// How long a sidecar waits for an address that a lone command still holds.
const BIND_PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn bind(config: &Config, role: Role) -> Result<Vec<Listener>, StartError> {
    let failed = |address: &Address| {
        let address = address.clone();
        move |source| StartError::Bind { address, source }
    };
    if role == Role::Alone {
        if let Some(listener) = config
            .listen
            .iter()
            .find_map(|address| Listener::bind(address).ok())
        {
            return Ok(vec![listener]);
        }
        let free = Address::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&free).map_err(failed(&free))?;
        tracing::debug!(address = %listener.address(), "the addresses of the configuration are taken; a free port serves");
        return Ok(vec![listener]);
    }
    let mut listeners = Vec::new();
    for address in &config.listen {
        let start = tokio::time::Instant::now();
        let listener = loop {
            match Listener::bind(address) {
                // A lone `sidedoor issue` may hold it for a few seconds.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && start.elapsed() < BIND_PATIENCE =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                bound => break bound.map_err(failed(address))?,
            }
        };
        listeners.push(serving::introduced(listener, config));
    }
    Ok(listeners)
}
