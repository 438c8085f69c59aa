//! What is remembered of a request until its answer is complete: for the counts, and for the access log.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;

use super::access_log::Entry;
use super::client::Client;
use super::respond::client_address;
use super::routes::App;
use super::terms::Terms;

/// nginx's status for a client that has left before there was an answer.
const CLIENT_LEFT: u16 = 499;

/// One request. Counted and logged when this is dropped, whatever has become of it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) client: Arc<Client>,
    pub(super) terms: Arc<Terms>,
    pub(super) app: Option<Arc<App>>,
    pub(super) status: u16,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
    begun: Instant,
    entry: Option<Box<Entry>>,
}

impl Record {
    /// A request begins: what is in force now is so for it until its end.
    pub(super) fn new(client: Arc<Client>, request: &Parts) -> Self {
        let begun = Instant::now();
        let terms = client.renew_terms();
        let log = terms.settings.access_log.as_ref();
        let entry = log.map(|log| {
            let address = client_address(request, &client, &terms.settings);
            match address.filter(|_| address != client.address) {
                None => log.begin(Some(request), &client.address_text, begun),
                Some(address) => log.begin(Some(request), &address.to_string(), begun),
            }
        });
        Self::begin(client, terms, begun, entry)
    }

    /// A head that can't be read, and what was answered.
    pub(super) fn of_unread(client: Arc<Client>, status: u16) -> Self {
        let begun = Instant::now();
        let terms = client.renew_terms();
        let log = terms.settings.access_log.as_ref();
        let entry = log.map(|log| log.begin(None, &client.address_text, begun));
        let mut record = Self::begin(client, terms, begun, entry);
        record.status = status;
        record
    }

    fn begin(
        client: Arc<Client>,
        terms: Arc<Terms>,
        begun: Instant,
        entry: Option<Box<Entry>>,
    ) -> Self {
        Self {
            client,
            terms,
            app: None,
            status: CLIENT_LEFT,
            sent: 0,
            begun,
            entry,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let gate = &self.client.gate;
        match &self.app {
            Some(app) => app.meter(gate).count(self.status, took),
            None => gate.nobody.count(self.status, took),
        }
        if let (Some(entry), Some(log)) = (self.entry.take(), &self.terms.settings.access_log) {
            let app = self.app.as_ref().map(|app| app.name.as_str());
            log.end(entry, app, self.status, self.sent, took);
        }
    }
}
