//! `listen`: where requests are taken, and how clients begin there.

use std::fmt::{self, Display};

use super::reader::{Entry, Section};
use super::show::text;
use crate::address::Address;

/// One place where requests are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// Whether clients begin with a PROXY protocol header there; where nothing is given, as `proxy.proxy_protocol` says.
    pub proxy_protocol: Option<bool>,
}

impl Listen {
    pub(super) fn read(root: &mut Section<'_>) -> Vec<Self> {
        let Some(entries) = root.entries("listen") else {
            return Self::default_places();
        };
        if entries.is_empty() {
            root.refuse(
                "listen",
                "at least one address is needed; leave the key out for 127.0.0.1:8888",
            );
        }
        let read = |entry| match entry {
            Entry::Text(text) => root.parse("listen", text).map(|address| Self {
                address,
                proxy_protocol: None,
            }),
            Entry::Table(table) => Self::read_table(table),
        };
        let places: Vec<_> = entries.into_iter().filter_map(read).collect();
        for (n, place) in places.iter().enumerate() {
            let is_free_port =
                matches!(place.address, Address::Tcp(address) if address.port() == 0);
            if !is_free_port
                && places[..n]
                    .iter()
                    .any(|other| other.address == place.address)
            {
                root.refuse("listen", format!("{} stands here twice", place.address));
            }
        }
        places
    }

    fn read_table(mut table: Section<'_>) -> Option<Self> {
        if !table.has("address") {
            table.refuse("address", "an address is needed here");
        }
        let address = table.parsed("address");
        let proxy_protocol = table.flag("proxy_protocol");
        Some(Self {
            address: address?,
            proxy_protocol,
        })
    }

    pub(super) fn default_places() -> Vec<Self> {
        vec![Self {
            address: Address::Tcp(([127, 0, 0, 1], 8888).into()),
            proxy_protocol: None,
        }]
    }
}

/// As it stands in the list.
impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = text(&self.address);
        match self.proxy_protocol {
            None => f.write_str(&address),
            Some(wanted) => write!(f, "{{ address = {address}, proxy_protocol = {wanted} }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn one_address_may_ask_for_the_proxy_protocol_and_doors_lead_to_another() {
        let wanted = |text: &str| {
            let config = parse(text)?;
            let listens = config.listen.iter();
            let wanted: Vec<_> = listens.map(|listen| config.is_introduced(listen)).collect();
            Ok::<_, Vec<String>>((wanted, config.plain_listen()))
        };
        let two =
            "listen = [{ address = \"0.0.0.0:80\", proxy_protocol = true }, \"127.0.0.1:8888\"]\n";
        assert_eq!(wanted(two), Ok((vec![true, false], Some(1))));
        let all = "listen = [\"0.0.0.0:80\", { address = \"unix:/s\", proxy_protocol = false }]\n[proxy]\nproxy_protocol = true\n";
        assert_eq!(wanted(all), Ok((vec![true, false], Some(1))));
        let none = "listen = { address = \"0.0.0.0:80\", proxy_protocol = true }\n";
        assert_eq!(wanted(none), Ok((vec![true], None)));
        let with_door = format!(
            "{none}[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"/a\"\n"
        );
        for text in [
            with_door.as_str(),
            "listen = [{ proxy_protocol = true }]",
            "listen = [{ address = \"80\" }]",
            "listen = [{ address = \"0.0.0.0:80\", proxy = true }]",
            "listen = [\"0.0.0.0:80\", \"0.0.0.0:80\"]",
            "listen = [80]",
            "listen = []",
        ] {
            let mistakes = parse(text).unwrap_err();
            assert!(
                mistakes[0].starts_with("/etc/sidedoor/sidedoor.toml:1: listen"),
                "{mistakes:?}"
            );
        }
    }
}
