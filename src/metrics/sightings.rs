//! What nginx was last seen to serve for each certificate. Kept, since asking takes a TLS handshake for each name.

use std::collections::HashMap;

use dashmap::DashMap;
use time::OffsetDateTime;

use crate::identifier::AppName;
use crate::status::Status;

/// What was seen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When the first of what is served for the certificate's names ends.
    pub not_after: OffsetDateTime,
    /// When nginx was asked.
    pub at: OffsetDateTime,
}

/// The last sighting for each certificate.
#[derive(Debug, Default)]
pub struct Sightings {
    last: DashMap<AppName, Sighting>,
}

impl Sightings {
    /// A new certificate was seen to be served.
    pub fn saw(&self, name: &AppName, sighting: Sighting) {
        self.last.insert(name.clone(), sighting);
    }

    /// All were looked for; those for which none was served are seen no more.
    pub fn saw_all(&self, status: &Status, at: OffsetDateTime) {
        let ends = status.certificates.iter().filter_map(|certificate| {
            let served = certificate.served.iter();
            let not_after = served.filter_map(|served| served.not_after).min()?;
            Some((certificate.name.clone(), Sighting { not_after, at }))
        });
        let ends: HashMap<_, _> = ends.collect();
        // What was seen after this look had begun is newer.
        self.last
            .retain(|name, last| last.at > at || ends.contains_key(name));
        for (name, sighting) in ends {
            let mut last = self.last.entry(name).or_insert(sighting);
            if last.at < at {
                *last = sighting;
            }
        }
    }

    /// The last one.
    pub fn of(&self, name: &AppName) -> Option<Sighting> {
        self.last.get(name).map(|sighting| *sighting)
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn sighting(days: i64, at: OffsetDateTime) -> Sighting {
        let not_after = NOW + Duration::days(days);
        Sighting { not_after, at }
    }

    fn status(served: &[(&str, &[i64])]) -> Status {
        let certificates = served.iter().map(|(name, days)| {
            let served = days.iter().map(|days| {
                let end = NOW + Duration::days(*days);
                serde_json::json!({
                    "name": "shop.example", "address": "127.0.0.1:443", "is_live": true, "error": null,
                    "not_after": end.format(&time::format_description::well_known::Rfc3339).unwrap(),
                })
            });
            serde_json::json!({
                "name": name, "enabled": true, "identifiers": [], "served": served.collect::<Vec<_>>(),
            })
        });
        let status = serde_json::json!({
            "version": "0", "running": true, "certificates": certificates.collect::<Vec<_>>(),
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn the_first_end_counts_and_what_is_served_no_more_is_forgotten() {
        let (shop, wiki) = ("shop".parse().unwrap(), "wiki".parse().unwrap());
        let sightings = Sightings::default();
        sightings.saw(&wiki, sighting(90, NOW - Duration::HOUR));
        sightings.saw_all(&status(&[("shop", &[9, 3]), ("wiki", &[])]), NOW);
        assert_eq!(sightings.of(&shop), Some(sighting(3, NOW)));
        assert_eq!(sightings.of(&wiki), None);
    }

    #[test]
    fn what_was_seen_while_all_were_looked_for_is_kept() {
        let shop = "shop".parse().unwrap();
        let sightings = Sightings::default();
        let newer = sighting(90, NOW + Duration::SECOND);
        sightings.saw(&shop, newer);
        sightings.saw_all(&status(&[("shop", &[3])]), NOW);
        assert_eq!(sightings.of(&shop), Some(newer));
        sightings.saw_all(&status(&[("shop", &[])]), NOW);
        assert_eq!(sightings.of(&shop), Some(newer));
    }
}
