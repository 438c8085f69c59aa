//! The part of a name that was registered: what a CA counts certificates by.

use std::net::{IpAddr, Ipv6Addr};

use crate::identifier::Identifier;

/// The registered domain of a name, by the public suffix list (private section too, as CAs read it). A name that is a public suffix
/// itself stands for itself. An IPv4 address stands for itself, an IPv6 address for its /64.
pub fn registered_domain(name: &Identifier) -> String {
    match name {
        Identifier::Dns(name) => {
            let name = name.as_str();
            let base = name.strip_prefix("*.").unwrap_or(name);
            psl::domain_str(base).unwrap_or(base).to_owned()
        }
        Identifier::Ip(address @ IpAddr::V4(_)) => address.to_string(),
        Identifier::Ip(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_by_the_public_suffix_list() {
        for (name, domain) in [
            ("example.com", "example.com"),
            ("www.example.com", "example.com"),
            ("*.a.b.example.com", "example.com"),
            ("new.blog.example.co.uk", "example.co.uk"),
            ("shop.dokku.github.io", "dokku.github.io"),
            ("github.io", "github.io"),
            ("a.intern.lan", "intern.lan"),
            ("localhost", "localhost"),
            ("a.example.xn--55qx5d.cn", "example.xn--55qx5d.cn"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let name: Identifier = name.parse().unwrap();
            assert_eq!(registered_domain(&name), domain, "{name}");
        }
    }
}
